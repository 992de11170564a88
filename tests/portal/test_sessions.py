"""Sessions: idle, old, kept alive by people and not by clocks; headers on every answer."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client
from django.urls import reverse

from specimens.models import AuditEvent, User
from tests.factories import Cast

pytestmark = [pytest.mark.core, pytest.mark.django_db]

As = Callable[[User], Client]
UNATTENDED = {"X-Unattended": "1"}


def _make_older(client: Client, **seconds: float) -> None:
    session = client.session
    for name, age in seconds.items():
        session[name] = time.time() - age
    session.save()


def _seen(client: Client) -> float:
    return float(client.session["seen_at"])


def test_a_session_in_which_nobody_does_anything_ends(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    _make_older(client, seen_at=29 * 60)
    assert client.get("/").status_code == 200
    _make_older(client, seen_at=30 * 60 + 5)
    answer = client.get("/")
    assert (answer.status_code, answer["Location"]) == (302, "/login?next=/")
    assert client.get("/").status_code == 302
    event = AuditEvent.objects.get(action="sign_in.ended")
    assert (event.actor, event.details["why"]) == (cast.technician, "idle")


def test_a_session_ends_after_ten_hours_whatever_is_done(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    _make_older(client, started_at=10 * 3600 + 5)
    assert client.get("/").status_code == 302
    assert AuditEvent.objects.get(action="sign_in.ended").details["why"] == "too old"


def test_a_session_that_ends_while_a_page_is_made(
    cast: Cast, as_person: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(request: HttpRequest, now: float) -> None:
        request.session["seen_at"] = now
        type(request.session)(request.session.session_key).delete()

    monkeypatch.setattr("specimens.views.sessions._note", end)
    answer = as_person(cast.technician).get("/specimens/?page=2")
    assert (answer.status_code, answer["Location"]) == (302, "/login?next=/specimens/%3Fpage%3D2")
    script = as_person(cast.technician).get("/", headers={"Accept": "application/json"})
    assert (script.status_code, script.json()["code"]) == (401, "signed_out")


def test_people_keep_a_session_alive_and_clocks_do_not(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    _make_older(client, seen_at=600)
    before = _seen(client)
    client.get("/", headers=UNATTENDED)
    assert _seen(client) == before
    client.get("/")
    assert _seen(client) > before + 599


def test_a_session_that_only_polls_ends_as_well(cast: Cast) -> None:
    client = Client()
    client.force_login(cast.technician)
    client.get("/", headers=UNATTENDED)
    assert _seen(client) > time.time() - 60


def test_a_page_is_told_how_long_its_session_lasts(cast: Cast, as_person: As) -> None:
    client = as_person(cast.technician)
    _make_older(client, seen_at=1000)
    answer = client.get(reverse("session"), headers=UNATTENDED)
    assert answer.json()["user"] == cast.technician.pk
    assert 795 <= answer.json()["seconds_left"] <= 800
    assert client.get(reverse("session")).json()["seconds_left"] >= 1795
    _make_older(client, started_at=10 * 3600 - 50)
    assert client.get(reverse("session")).json()["seconds_left"] <= 50


@pytest.mark.parametrize("header", [{"HX-Request": "true"}, {"Accept": "application/json"}])
def test_a_script_is_told_that_nobody_is_signed_in(header: dict[str, str], client: Client) -> None:
    answer = client.get("/", headers=header)
    assert (answer.status_code, answer.json()["code"]) == (401, "signed_out")
    assert "Log in" in answer.json()["message"]


def test_headers_of_every_answer(cast: Cast, as_person: As) -> None:
    for answer in (Client().get("/login"), as_person(cast.technician).get("/")):
        assert answer["X-Frame-Options"] == "DENY"
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Referrer-Policy"] == "same-origin"
        assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "camera=()" in answer["Permissions-Policy"]
        assert "default-src 'self'" in answer["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/model/", "/second-factor/new", "/admin/", "/no-such"])
def test_no_cache_keeps_what_is_for_one_person(path: str, cast: Cast, as_person: As) -> None:
    answer = as_person(cast.administrator).get(path)
    assert "no-store" in answer["Cache-Control"]


def test_cookies(cast: Cast, client: Client, settings: Any) -> None:
    sent = {"username": "technician", "password": "correct horse"}
    client.get("/login")
    cookies = client.post("/login", sent).cookies
    assert cookies["sessionid"]["httponly"]
    assert cookies["sessionid"]["samesite"] == cookies["csrftoken"]["samesite"] == "Lax"
    assert cookies["sessionid"]["path"] == "/"


@pytest.mark.parametrize("path", ["/no-such-page", "/specimens/999999"])
def test_error_pages_say_nothing_of_the_inside(path: str, cast: Cast, as_person: As) -> None:
    text = as_person(cast.technician).get(path).content.decode()
    assert "This page does not exist" in text
    for inside in ("Traceback", "urlpatterns", "DoesNotExist", "settings"):
        assert inside not in text


def test_a_failure_says_nothing_of_the_inside(
    cast: Cast, as_person: As, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password of the database is hunter2")

    monkeypatch.setattr("specimens.views.quality.render", fails)
    client = as_person(cast.technician)
    client.raise_request_exception = False
    answer = client.get("/model/")
    assert answer.status_code == 500
    assert "Something broke on our side" in answer.content.decode()
    assert "hunter2" not in answer.content.decode()
