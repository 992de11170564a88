"""Tokens: scopes, rotation, what ends them, and how much one may send."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.core.exceptions import ValidationError
from django.test import Client
from knox.models import AuthToken
from knox.settings import CONSTANTS

from specimens.models import AuditEvent, Role, TokenGrant
from specimens.selectors.bearers import tokens_with_key
from specimens.services.tokens import create_token
from tests.api.client import Api, body_of, token_of
from tests.factories import Cast, picture
from tests.processes import free_port

pytestmark = [pytest.mark.core, pytest.mark.django_db]

JSON = {"content_type": "application/json"}


class TestScopes:
    def test_a_reader_cannot_write(self, cast: Cast, unwatched: None) -> None:
        api = Api(token_of(cast.integration, scopes=["read"]))
        assert api.get("/api/v1/orders").status_code == 200
        answer = api.post("/api/v1/orders", {}, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (403, "insufficient_scope")
        answer = api.predict(picture())
        assert (answer.status_code, body_of(answer)["code"]) == (403, "insufficient_scope")

    def test_a_writer_cannot_read(self, cast: Cast) -> None:
        api = Api(token_of(cast.integration, scopes=["write"]))
        answer = api.get("/api/v1/orders")
        assert (answer.status_code, body_of(answer)["code"]) == (403, "insufficient_scope")
        assert api.post("/api/v1/orders", {}, **JSON).status_code == 400

    @pytest.mark.parametrize("scopes", [[], ["admin"], ["read", "admin"]])
    def test_there_are_two(self, cast: Cast, scopes: list[str]) -> None:
        with pytest.raises(ValidationError, match="read, write"):
            token_of(cast.integration, scopes=scopes)
        assert not AuthToken.objects.exists()


class TestCurrent:
    def test_it_tells_what_it_may(self, cast: Cast) -> None:
        body = body_of(
            Api(token_of(cast.integration, scopes=["read"])).get("/api/v1/tokens/current")
        )
        assert (body["account"], body["role"], body["sites"], body["scopes"]) == (
            "integration", "integration", ["main"], ["read"],
        )  # fmt: skip

    def test_a_session_has_none(self, cast: Cast) -> None:
        api = Api()
        api.http.force_login(cast.technician)
        assert api.get("/api/v1/tokens/current").status_code == 403


class TestRotation:
    def test_the_new_one_works_and_the_old_one_a_little_longer(self, cast: Cast) -> None:
        old = token_of(cast.integration, scopes=["read"], expiry=timedelta(days=9))
        answer = Api(old).post("/api/v1/tokens/rotate", {}, **JSON)
        new = body_of(answer)["token"]
        assert answer["Cache-Control"] == "no-store"
        assert {Api(token).get("/api/v1/orders").status_code for token in (old, new)} == {200}
        assert body_of(Api(new).get("/api/v1/tokens/current"))["scopes"] == ["read"]
        lives = [row.expiry - row.created for row in AuthToken.objects.order_by("created")]
        assert lives[0] < timedelta(minutes=6)
        assert abs(lives[1] - timedelta(days=9)) < timedelta(minutes=1)
        event = AuditEvent.objects.get(action="token.rotated")
        assert new not in str(event.details)

    def test_without_overlap_the_old_one_ends(self, cast: Cast) -> None:
        old = token_of(cast.integration)
        Api(old).post("/api/v1/tokens/rotate", {"overlap_seconds": 0}, **JSON)
        assert Api(old).get("/api/v1/orders").status_code == 401

    def test_once_only(self, cast: Cast) -> None:
        api = Api(token_of(cast.integration))
        assert api.post("/api/v1/tokens/rotate", {}, **JSON).status_code == 201
        answer = api.post("/api/v1/tokens/rotate", {}, **JSON)
        assert (answer.status_code, body_of(answer)["code"]) == (409, "conflict")
        assert AuthToken.objects.count() == 2


class TestTheEnd:
    """A token is good for the account it was made for, as it was then."""

    @pytest.mark.parametrize("what", ["role", "more sites", "fewer sites", "inactive", "no grant"])
    def test_it_ends_with_a_change_and_stays_so(self, cast: Cast, what: str) -> None:
        user, token = cast.integration, token_of(cast.integration)
        assert Api(token).get("/api/v1/orders").status_code == 200
        if what == "role":
            user.role = Role.ADMINISTRATOR
        elif what == "inactive":
            user.is_active = False
        elif what == "no grant":
            TokenGrant.objects.all().delete()
        else:
            user.sites.set([cast.site, cast.other_site] if what == "more sites" else [])
        user.save()
        answer = Api(token).get("/api/v1/orders")
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, "Token")
        user.role, user.is_active = Role.INTEGRATION, True
        user.save()
        user.sites.set([cast.site])
        assert Api(token).get("/api/v1/orders").status_code == 401
        assert not AuthToken.objects.exists()
        assert AuditEvent.objects.get(action="token.revoked").details["reason"]

    def test_the_administration_ends_them_at_once(self, cast: Cast) -> None:
        token_of(cast.integration)
        kept = token_of(cast.technician)
        client = Client()
        client.force_login(cast.administrator)
        page = f"/admin/specimens/user/{cast.integration.pk}/change/"
        form = client.get(page).context["adminform"].form.initial
        sent = {
            "username": "integration", "role": "integration", "sites": [cast.site.pk],
            "hotkeys": "{}", "date_joined_0": "", "email": form.get("email") or "",
        }  # fmt: skip
        answer = client.post(page, sent)  # the box "active" is not ticked
        assert answer.status_code == 302, answer.context["errors"]
        assert [row.user for row in AuthToken.objects.all()] == [cast.technician]
        event = AuditEvent.objects.get(action="token.revoked")
        assert event.actor == cast.administrator
        assert Api(kept).get("/api/v1/orders").status_code == 200


@pytest.mark.usefixtures("within_a_minute")
class TestLimits:
    @pytest.fixture(autouse=True)
    def _three(self, settings: Any) -> None:
        settings.RATE_LIMIT = 3
        cache.clear()

    def test_each_answer_says_what_is_left(self, api: Api) -> None:
        left = [api.get("/api/v1/orders")["RateLimit-Remaining"] for _ in range(3)]
        assert left == ["2", "1", "0"]

    @pytest.mark.parametrize("path", ["/api/v1/orders", "/api/model_info", "/v2/"])
    def test_then_it_is_429_with_when_to_come_again(self, api: Api, path: str) -> None:
        *within, last = [api.get(path) for _ in range(4)]
        assert [answer.status_code == 429 for answer in (*within, last)] == [False] * 3 + [True]
        assert last["RateLimit-Limit"] == "3"
        assert 1 <= int(last["Retry-After"]) <= 60
        assert last["Retry-After"] == last["RateLimit-Reset"]

    def test_each_token_has_its_own(self, cast: Cast, api: Api) -> None:
        for _ in range(4):
            api.get("/api/v1/orders")
        other = Api(token_of(cast.integration))
        assert other.get("/api/v1/orders").status_code == 200

    def test_without_a_limit_nothing_is_said(self, api: Api, settings: Any) -> None:
        settings.RATE_LIMIT = 0
        answers = [api.get("/api/v1/orders") for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        assert "RateLimit-Limit" not in answers[0]

    @pytest.mark.redis
    def test_where_there_is_redis_all_processes_count_together(self, api: Api) -> None:
        api.get("/api/v1/orders")
        program = (
            "import django; django.setup();"
            "from specimens.api.throttling import _count;"
            "import sys; print(_count(sys.argv[1]))"
        )
        token, window = AuthToken.objects.get().pk[:32], int(time.time() // 60)
        said = subprocess.run(
            [sys.executable, "-c", program, f"rate:token-{token}:{window}"],
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "wbclab.settings"},
            capture_output=True,
            check=True,
        )  # fmt: skip
        assert said.stdout.strip() == b"2"

    def test_a_counter_that_is_away_stops_nobody(self, api: Api, settings: Any) -> None:
        settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
        answers = [api.get("/api/v1/orders") for _ in range(5)]
        assert {answer.status_code for answer in answers} == {200}
        assert "RateLimit-Limit" not in answers[0]


def test_an_account_that_came_with_a_token_has_its_own_sites_however_they_are_asked_for(
    cast: Cast,
) -> None:
    (found,) = tokens_with_key(token_of(cast.integration)[: CONSTANTS.TOKEN_KEY_LENGTH])
    assert list(found.user.sites.all()) == [cast.site]
    assert list(found.user.sites.values_list("pk", flat=True)) == [cast.site.pk]
    assert not found.user.sites.filter(pk=cast.other_site.pk).exists()


def test_tokens_of_before_keep_what_they_could_do(cast: Cast) -> None:
    """What migration 0009 does with rows that have no grant yet."""
    from importlib import import_module

    from django.apps import apps

    _, token = AuthToken.objects.create(user=cast.integration)
    module = import_module("specimens.migrations.0009_api")
    module.grant_what_tokens_could_do(apps, None)
    assert Api(token).get("/api/v1/orders").status_code == 200
    create_token(actor=None, user=cast.integration, lifetime=timedelta(days=1))
