"""Signing in with a password: too many wrong ones lock, for a while, and can be unlocked."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.core.cache import cache
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from specimens.models import AuditEvent, Report, Specimen, User
from specimens.selectors.case import case_of
from specimens.services.guessing import PASSWORDS, count_wrong
from specimens.services.tokens import create_token
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
PASSWORD = "correct horse"
LOCKED = "This account is locked for this address: try again in 15 minutes"


@pytest.fixture(autouse=True)
def _nobody_has_guessed() -> None:
    cache.clear()


def _try(client: Client, password: str = "wrong", name: str = "pathologist", **more: Any) -> Any:
    sent = {"username": name, "password": password}
    return client.post(reverse("login"), sent, **more)


def _lock(client: Client, **more: Any) -> Any:
    for _ in range(4):
        assert _try(client, **more).status_code == 200
    return _try(client, **more)


def test_the_fifth_wrong_password_locks_and_says_for_how_long(cast: Cast, client: Client) -> None:
    answer = _lock(client)
    assert answer.status_code == 429
    assert LOCKED in answer.content.decode()
    assert 890 <= int(answer["Retry-After"]) <= 900
    assert _try(client, PASSWORD).status_code == 429
    assert "_auth_user_id" not in client.session
    failed = AuditEvent.objects.filter(action="sign_in.failed", object_id=cast.pathologist.pk)
    assert failed.count() == 5
    locked = AuditEvent.objects.get(action="sign_in.locked_out")
    assert (locked.site, locked.details["address"]) == (cast.site, "127.0.0.1")


def test_a_script_is_told_in_json(cast: Cast, client: Client) -> None:
    _lock(client)
    answer = _try(client, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (429, "locked_out")
    assert LOCKED in answer.json()["message"]


def test_from_another_address_the_person_still_gets_in(cast: Cast, client: Client) -> None:
    _lock(client)
    assert _try(Client(), PASSWORD, REMOTE_ADDR="192.0.2.9").status_code == 302
    # Which does not unlock whoever is guessing.
    assert _try(client, PASSWORD).status_code == 429


def test_a_header_is_no_address(cast: Cast, client: Client) -> None:
    for number in range(5):
        last = _try(client, headers={"X-Forwarded-For": f"192.0.2.{number}"})
    assert last.status_code == 429


def test_another_account_is_not_locked(cast: Cast, client: Client) -> None:
    _lock(client)
    assert _try(client, PASSWORD, "technician").status_code == 302


def test_guessing_on_does_not_prolong_the_lock(cast: Cast, client: Client) -> None:
    _lock(client)
    later = timezone.now() - timedelta(minutes=14, seconds=50)
    AccessAttempt.objects.update(attempt_time=later)
    assert _try(client).status_code == 429
    assert AccessAttempt.objects.get().attempt_time == later
    AccessAttempt.objects.update(attempt_time=later - timedelta(seconds=20))
    assert _try(client, PASSWORD).status_code == 302


def test_the_right_password_forgets_the_wrong_ones(cast: Cast, client: Client) -> None:
    for _ in range(4):
        _try(client)
    assert _try(client, PASSWORD).status_code == 302
    assert not AccessAttempt.objects.exists()


def test_an_administrator_unlocks(cast: Cast, client: Client, as_person: As) -> None:
    _lock(client)
    sent = {"action": "unlock", "_selected_action": [cast.pathologist.pk]}
    path = reverse("admin:specimens_user_changelist")
    page = as_person(cast.administrator).post(path, sent, follow=True)
    assert "Unlocked: pathologist." in page.content.decode()
    event = AuditEvent.objects.get(action="sign_in.unlocked")
    assert (event.actor, event.object_id) == (cast.administrator, str(cast.pathologist.pk))
    assert _try(client, PASSWORD).status_code == 302


def test_the_command_of_the_library_unlocks(cast: Cast, client: Client) -> None:
    _lock(client)
    call_command("axes_reset", verbosity=0)
    assert _try(client, PASSWORD).status_code == 302


def test_nothing_that_was_typed_is_kept(cast: Cast, client: Client) -> None:
    _try(client, "a secret phrase")
    kept = AccessAttempt.objects.get()
    assert "secret" not in f"{kept.get_data}{kept.post_data}"
    _try(client, "x", "no-such-account-or-a-password")
    assert AuditEvent.objects.filter(action="sign_in.failed").count() == 1


@pytest.mark.usefixtures("within_a_minute")
def test_an_address_that_tries_many_accounts_is_refused(
    cast: Cast, client: Client, settings: Any
) -> None:
    settings.WRONG_CREDENTIALS_LIMIT = 3
    for number in range(3):
        assert _try(client, name=f"nobody-{number}").status_code == 200
    answer = _try(client, PASSWORD)
    assert answer.status_code == 429
    assert "Too many wrong attempts from this address." in answer.content.decode()
    assert _try(Client(), PASSWORD, REMOTE_ADDR="192.0.2.9").status_code == 302


def test_without_the_counter_people_still_sign_in(
    cast: Cast, client: Client, settings: Any
) -> None:
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
        }
    }
    assert _try(client).status_code == 200
    assert _try(client, PASSWORD).status_code == 302


def test_sign_in_and_out_are_on_record_and_the_key_is_new(cast: Cast, client: Client) -> None:
    client.get(reverse("login"))
    client.session["x"] = 1
    before = client.session.session_key
    _try(client, PASSWORD)
    assert client.session.session_key != before
    client.post(reverse("logout"))
    actions = AuditEvent.objects.order_by("sequence").values_list("action", "details")
    assert [action for action, _ in actions] == ["sign_in.succeeded", "sign_in.ended"]
    assert actions[1][1]["why"] == "asked for"


@pytest.mark.parametrize("next", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_the_login_leads_nowhere_else(next: str, cast: Cast, client: Client) -> None:
    sent = {"username": "technician", "password": PASSWORD, "next": next}
    answer = client.post(reverse("login"), sent)
    assert (answer.status_code, answer["Location"]) == (302, "/")


# --- the password again, inside a session ---------------------------------------------------------
@pytest.fixture
def case(cast: Cast, cells: Cells) -> Specimen:
    cast.site.target_cells = 1
    cast.site.save()
    specimen = cast.specimen(state=Specimen.State.IN_REVIEW)
    cell = cells.classified(specimen)
    cell.label, cell.revision = "neutrophil", 1
    cell.save()
    return specimen


def _sheet(case: Specimen, password: str) -> dict[str, str]:
    seen = case_of(Specimen.objects.get(pk=case.pk)).revision
    return {"seen_revision": seen, "password": password, "meaning": "Seen by me."}


def test_guessing_at_the_signature_locks(cast: Cast, as_person: As, case: Specimen) -> None:
    client, path = as_person(cast.pathologist), reverse("sign_out", args=[case.pk])
    for _ in range(4):
        assert client.post(path, _sheet(case, "wrong")).status_code == 422
    answer = client.post(path, _sheet(case, "wrong"))
    assert answer.status_code == 429
    assert LOCKED in answer.content.decode()
    assert "Seen by me." in answer.content.decode()  # what was typed is still there
    assert client.post(path, _sheet(case, PASSWORD)).status_code == 429
    assert not Report.objects.exists()
    event = AuditEvent.objects.get(action="sign_in.locked_out")
    assert event.details["step"] == "signature"


def test_guessing_at_the_signature_by_rest_locks(cast: Cast, case: Specimen) -> None:
    client: Any = APIClient()
    client.force_authenticate(cast.pathologist)
    path = reverse("v1_sign_out", args=[case.pk])
    for number in range(6):
        # Under a key, whose transaction is rolled back: the count must not be.
        headers = {"Idempotency-Key": f"try-{number}"}
        answer = client.post(path, _sheet(case, "wrong"), format="json", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (429, "locked_out")
    assert int(answer["Retry-After"]) > 800


def test_guessing_at_the_change_of_password_locks(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    new = "a long and winding road"
    sent = {"old_password": "wrong", "new_password1": new, "new_password2": new}
    statuses = [client.post(reverse("password_change"), sent).status_code for _ in range(6)]
    assert statuses == [200, 200, 200, 200, 429, 429]
    kept = AccessAttempt.objects.get()
    assert new not in f"{kept.post_data}"


def test_a_new_password_ends_the_other_sessions(cast: Cast, as_person: As) -> None:
    here, there = as_person(cast.technician), as_person(cast.technician)
    new = "a long and winding road"
    sent = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert here.post(reverse("password_change"), sent).status_code == 302
    assert here.get("/").status_code == 200
    assert there.get("/").status_code == 302
    assert AuditEvent.objects.get(action="user.password_changed").actor == cast.technician


@pytest.mark.parametrize("new", ["short-word1", "password1234", "123456789012", "technician12"])
def test_weak_passwords_are_refused(new: str, cast: Cast, as_person: As) -> None:
    sent = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    answer = as_person(cast.technician).post(reverse("password_change"), sent)
    assert answer.status_code == 200
    assert "has-error" in answer.content.decode()


# --- tokens ---------------------------------------------------------------------------------------
@pytest.mark.usefixtures("within_a_minute")
@pytest.mark.parametrize(
    ("path", "header"),
    [("/api/v1/specimens", "Token {}"), ("/dicom-web/studies", "Bearer {}")],
)
def test_an_address_with_many_wrong_tokens_is_told_to_wait(
    path: str, header: str, cast: Cast, client: Client, settings: Any
) -> None:
    settings.WRONG_CREDENTIALS_LIMIT = 3
    wrong = {"Authorization": header.format("0" * 64)}
    statuses = [client.get(path, headers=wrong).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]
    answer = client.get(path, headers=wrong)
    assert 1 <= int(answer["Retry-After"]) <= 60
    token, _ = create_token(actor=None, user=cast.integration, lifetime=timedelta(days=1))
    right = {"Authorization": header.format(token)}
    assert client.get(path, headers=right).status_code == 200
    # A machine with an old token locks out nobody who signs in from the same address.
    assert _try(client, PASSWORD).status_code == 302


@pytest.mark.usefixtures("within_a_minute")
def test_kinds_are_counted_apart(rf: Any, settings: Any) -> None:
    settings.WRONG_CREDENTIALS_LIMIT = 1
    request = rf.get("/")
    count_wrong(request, "tokens")
    count_wrong(request, PASSWORDS)
