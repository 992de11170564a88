"""The second factor: enrolled, asked for, replaced, removed; and what is refused without it.

Codes are those an authenticator app would show: computed from the key on the page and the time.
"""

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_otp.plugins.otp_static.models import StaticToken
from rest_framework.test import APIClient

from specimens.models import AuditEvent, Authenticator, RecoveryCodes, Report, Specimen, User
from specimens.selectors.case import case_of
from specimens.services.tokens import create_token
from tests.authenticator import AuthenticatorApp
from tests.factories import Cast
from tests.portal.conftest import Cells

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
PASSWORD = "correct horse"
NEW, LOGIN, CODE, OWN = (
    reverse(name) for name in ("new_second_factor", "login", "login_code", "second_factor")
)


@pytest.fixture(autouse=True)
def _nobody_has_guessed() -> None:
    cache.clear()


@pytest.fixture
def required(settings: Any) -> None:
    settings.SECOND_FACTOR = "required"


def _app(page: str) -> AuthenticatorApp:
    """The app that has taken over the key of the page."""
    found = re.search(r"Key: <code>([A-Z2-7 ]+)</code>", page)
    assert found, page
    return AuthenticatorApp(found[1])


def _enrol(client: Client, **more: str) -> tuple[AuthenticatorApp, list[str]]:
    app = _app(client.get(NEW).content.decode())
    sent = {"code": app.code(), "password": PASSWORD} | more
    page = client.post(NEW, sent).content.decode()
    codes = re.findall(r"<li><code>([a-z0-9-]{11})</code>", page)
    assert len(codes) == 10, page
    return app, codes


def _password(client: Client, name: str = "pathologist") -> Any:
    return client.post(LOGIN, {"username": name, "password": PASSWORD, "next": "/model/"})


def _no_pause() -> None:
    """Let the pause after a wrong code be over."""
    Authenticator.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(hours=1))
    RecoveryCodes.objects.update(throttling_failure_timestamp=timezone.now() - timedelta(hours=1))


def _sign_in(client: Client, code: str) -> Any:
    assert _password(client)["Location"] == CODE
    return client.post(CODE, {"code": code})


# --- enrolling ------------------------------------------------------------------------------------
def test_enrolling_shows_key_and_picture_and_then_codes_once(cast: Cast, as_person: As) -> None:
    client = as_person(cast.pathologist)
    page = client.get(NEW).content.decode()
    assert 'src="data:image/png;base64,' in page
    _, codes = _enrol(client)
    assert len(set(codes)) == 10
    assert "10 codes left" in client.get(OWN).content.decode()
    assert client.get(OWN)["Cache-Control"] == "private, no-store"
    assert not any(code in client.get(OWN).content.decode() for code in codes)
    event = AuditEvent.objects.get(action="second_factor.enrolled")
    assert (event.actor, event.site) == (cast.pathologist, cast.site)


def test_neither_key_nor_codes_stand_in_the_database(cast: Cast, as_person: As) -> None:
    app, codes = _enrol(as_person(cast.pathologist))
    device = Authenticator.objects.get()
    assert device.key.encode() not in (app.key, app.key.hex().encode())
    stored = set(StaticToken.objects.values_list("token", flat=True))
    assert not stored & {code.replace("-", "") for code in codes}


def test_another_secret_makes_another_key(cast: Cast, as_person: As, settings: Any) -> None:
    app, codes = _enrol(as_person(cast.pathologist))
    settings.SECOND_FACTOR_KEY = "another secret than before"
    assert Authenticator.objects.get().bin_key != app.key
    assert _sign_in(Client(), codes[0]).status_code == 422


@pytest.mark.parametrize("fault", ["code", "password"])
def test_a_wrong_code_or_password_enrols_nothing(fault: str, cast: Cast, as_person: As) -> None:
    client = as_person(cast.pathologist)
    app = _app(client.get(NEW).content.decode())
    sent = {"code": app.code(), "password": PASSWORD}
    sent[fault] = app.wrong() if fault == "code" else "wrong"
    answer = client.post(NEW, sent)
    assert answer.status_code == 422
    assert "Nothing was changed." in answer.content.decode()
    assert not Authenticator.objects.filter(confirmed=True).exists()
    assert Authenticator(user=cast.pathologist).bin_key != app.key


def test_another_app_takes_the_place_of_the_first(cast: Cast, as_person: As) -> None:
    client = as_person(cast.pathologist)
    first, old_codes = _enrol(client)
    second, _ = _enrol(client)
    assert second.key != first.key
    assert Authenticator.objects.count() == 1
    assert _sign_in(Client(), old_codes[0]).status_code == 422
    _no_pause()
    assert _sign_in(Client(), first.code()).status_code == 422
    _no_pause()
    assert _sign_in(Client(), second.code()).status_code == 302


def test_a_session_with_the_password_alone_changes_no_factor(cast: Cast, as_person: As) -> None:
    before = as_person(cast.pathologist)  # from before the enrolment
    _enrol(as_person(cast.pathologist))
    assert before.get(NEW).status_code == 403
    assert before.post(OWN, {"password": PASSWORD}).status_code == 403


def test_new_recovery_codes_replace_the_old(cast: Cast, as_person: As) -> None:
    client = as_person(cast.pathologist)
    _, old = _enrol(client)
    assert client.post(OWN, {"password": "wrong"}).status_code == 422
    page = client.post(OWN, {"password": PASSWORD}).content.decode()
    new = re.findall(r"<li><code>([a-z0-9-]{11})</code>", page)
    assert len(new) == 10
    assert _sign_in(Client(), old[0]).status_code == 422
    _no_pause()
    assert _sign_in(Client(), new[0]).status_code == 302
    assert AuditEvent.objects.filter(action="second_factor.recovery_codes_renewed").count() == 1


# --- signing in -----------------------------------------------------------------------------------
def test_the_password_alone_opens_nothing(cast: Cast, as_person: As) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    client = Client()
    assert _password(client)["Location"] == CODE
    assert client.get("/").status_code == 302
    assert client.get("/api/v1/specimens").status_code == 401
    before = client.session.session_key
    answer = client.post(CODE, {"code": app.code()})
    assert (answer.status_code, answer["Location"]) == (302, "/model/")
    assert client.session.session_key != before
    assert client.get("/").status_code == 200
    event = AuditEvent.objects.get(action="sign_in.succeeded")
    assert event.details["second_factor"] is True


def test_a_code_is_good_once(cast: Cast, as_person: As) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    code = app.code()
    assert _sign_in(Client(), code).status_code == 302
    answer = _sign_in(Client(), code)
    assert answer.status_code == 422
    assert "was used already" in answer.content.decode()


def test_a_code_of_another_time_is_refused(cast: Cast, as_person: As) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    for minutes in (-5, 5):
        assert _sign_in(Client(), app.code_at(minutes)).status_code == 422
        _no_pause()


def test_after_a_wrong_code_there_is_a_pause(cast: Cast, as_person: As) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    Authenticator.objects.update(throttling_failure_count=3)
    client = Client()
    assert _sign_in(client, app.wrong()).status_code == 422
    answer = client.post(CODE, {"code": app.code()})
    assert answer.status_code == 422
    assert re.search(r"looked at in [5-8] s", answer.content.decode())
    assert AuditEvent.objects.filter(action="sign_in.failed").count() == 1


def test_the_pause_never_exceeds_the_lock_out(cast: Cast, as_person: As) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    ago = timezone.now() - timedelta(minutes=15, seconds=1)
    Authenticator.objects.update(throttling_failure_count=40, throttling_failure_timestamp=ago)
    assert _sign_in(Client(), app.code()).status_code == 302


def test_wrong_codes_lock_account_and_address(cast: Cast, as_person: As) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    client = Client()
    statuses = []
    for _ in range(5):
        _no_pause()
        statuses.append(_sign_in(client, app.wrong()).status_code)
    assert statuses == [422, 422, 422, 422, 429]
    assert client.post(CODE, {"code": app.code()}).status_code == 429
    assert _password(client).status_code == 429
    event = AuditEvent.objects.get(action="sign_in.locked_out")
    assert event.details["step"] == "second factor"


def test_a_recovery_code_is_good_once_and_leads_to_what_is_left(cast: Cast, as_person: As) -> None:
    _, codes = _enrol(as_person(cast.pathologist))
    client = Client()
    assert _sign_in(client, codes[0].upper().replace("-", " "))["Location"] == OWN
    assert "9 codes left" in client.get(OWN).content.decode()
    event = AuditEvent.objects.get(action="second_factor.recovery_code_used")
    assert event.details == {"left": 9}
    assert _sign_in(Client(), codes[0]).status_code == 422


def test_the_code_is_waited_for_ten_minutes(cast: Cast, as_person: As, monkeypatch: Any) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    client = Client()
    _password(client)
    assert client.get(CODE).status_code == 200
    session = client.session
    session["waits_for_code"] |= {"at": time.time() - 601}
    session.save()
    assert client.post(CODE, {"code": app.code()})["Location"] == LOGIN
    assert client.get("/").status_code == 302


def test_a_password_changed_in_between_ends_the_wait(cast: Cast, as_person: As) -> None:
    app, _ = _enrol(as_person(cast.pathologist))
    client = Client()
    _password(client)
    cast.pathologist.set_password("another one altogether")
    cast.pathologist.save()
    assert client.post(CODE, {"code": app.code()})["Location"] == LOGIN


# --- required -------------------------------------------------------------------------------------
@pytest.mark.parametrize("person", ["pathologist", "administrator"])
def test_signers_and_administrators_must_enrol(
    person: str, cast: Cast, as_person: As, required: None
) -> None:
    client = as_person(getattr(cast, person))
    for path in ("/", "/specimens/", "/admin/", "/no-such-page"):
        assert client.get(path)["Location"].startswith(f"{OWN}?next="), path
    for path in ("/api/v1/specimens", "/fhir/Patient", "/dicom-web/studies"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required")
    assert client.get("/", headers={"HX-Request": "true"}).status_code == 403
    page = client.get(OWN).content.decode()
    assert "password alone is not enough" in page
    assert 'class="sections"' not in page
    _enrol(client)
    assert client.get("/").status_code == 200


def test_technicians_need_not(cast: Cast, as_person: As, required: None) -> None:
    assert as_person(cast.technician).get("/").status_code == 200


def test_a_session_from_before_ends(cast: Cast, as_person: As, required: None) -> None:
    before = as_person(cast.pathologist)
    _enrol(as_person(cast.pathologist))
    assert before.get("/")["Location"].startswith(LOGIN)


def test_optional_means_so(cast: Cast, as_person: As) -> None:
    assert as_person(cast.pathologist).get("/").status_code == 200


# --- signing --------------------------------------------------------------------------------------
@pytest.fixture
def case(cast: Cast, cells: Cells) -> Specimen:
    cast.site.target_cells = 1
    cast.site.save()
    specimen = cast.specimen(state=Specimen.State.IN_REVIEW)
    cell = cells.classified(specimen)
    cell.label, cell.revision = "neutrophil", 1
    cell.save()
    return specimen


def _signature(case: Specimen) -> dict[str, str]:
    seen = case_of(Specimen.objects.get(pk=case.pk)).revision
    return {"seen_revision": seen, "password": PASSWORD, "meaning": "Seen by me."}


def test_a_verified_session_signs(
    cast: Cast, as_person: As, required: None, case: Specimen
) -> None:
    client = as_person(cast.pathologist)
    _enrol(client)
    path = reverse("v1_sign_out", args=[case.pk])
    answer = client.post(path, _signature(case), content_type="application/json")
    assert answer.status_code == 201
    amended = client.post(
        reverse("amend", args=[case.pk]), {"reason": "Typing error", "password": PASSWORD}
    )
    assert amended.status_code == 302


def test_a_token_signs_nothing_where_a_second_factor_is_due(
    cast: Cast, case: Specimen, settings: Any, as_person: As
) -> None:
    token, _ = create_token(actor=None, user=cast.pathologist, lifetime=timedelta(days=1))
    client: Any = APIClient(headers={"Authorization": f"Token {token}"})
    path = reverse("v1_sign_out", args=[case.pk])
    settings.SECOND_FACTOR = "required"
    answer = client.post(path, _signature(case), format="json")
    assert answer.status_code == 403
    assert "An API token cannot sign" in answer.json()["detail"]
    settings.SECOND_FACTOR = "optional"
    _enrol(as_person(cast.pathologist))  # who has one, signs with it
    assert client.post(path, _signature(case), format="json").status_code == 403
    assert not Report.objects.exists()


def test_a_session_without_the_factor_of_its_account_signs_nothing(
    cast: Cast, as_person: As, case: Specimen
) -> None:
    before = as_person(cast.pathologist)
    _enrol(as_person(cast.pathologist))
    answer = before.post(reverse("sign_out", args=[case.pk]), _signature(case))
    assert answer.status_code == 403
    assert "A signature needs the second factor" in answer.content.decode()
    assert not Report.objects.exists()


# --- removing -------------------------------------------------------------------------------------
def test_an_administrator_removes_it(cast: Cast, as_person: As) -> None:
    client = as_person(cast.pathologist)
    _enrol(client)
    sent = {"action": "remove_second_factor", "_selected_action": [cast.pathologist.pk]}
    path = reverse("admin:specimens_user_changelist")
    page = as_person(cast.administrator).post(path, sent, follow=True).content.decode()
    assert "Pathologist has no second factor any more." in page
    assert not (Authenticator.objects.exists() or StaticToken.objects.exists())
    event = AuditEvent.objects.get(action="second_factor.removed")
    assert (event.actor, event.object_id) == (cast.administrator, str(cast.pathologist.pk))
    assert _password(Client())["Location"] == "/model/"


def test_the_command_removes_it(cast: Cast, as_person: As, capsys: Any) -> None:
    _enrol(as_person(cast.administrator))
    call_command("remove_second_factor", "administrator")
    assert "no second factor any more" in capsys.readouterr().out
    assert not Authenticator.objects.exists()
    with pytest.raises(CommandError, match="There is no account"):
        call_command("remove_second_factor", "nobody")
