"""The command that makes a token."""

import io
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from knox.models import AuthToken

from specimens.models import AuditEvent
from tests.api.client import Api
from tests.factories import Cast, UserFactory, picture

pytestmark = [pytest.mark.core, pytest.mark.django_db]


def _create(*arguments: str) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    call_command("create_token", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_token_works_and_only_the_token_is_on_stdout(cast: Cast, unwatched: None) -> None:
    out, err = _create("integration")
    assert len(out.split()) == 1
    assert "not shown again" in err
    assert Api(out.strip()).predict(picture()).status_code == 202


def test_it_is_valid_as_long_as_asked(cast: Cast, settings: Any) -> None:
    _create("integration", "--days", "3")
    left = AuthToken.objects.get().expiry - timezone.now()
    assert timedelta(days=2.9) < left <= timedelta(days=3)
    _create("technician")
    left = AuthToken.objects.get(user=cast.technician).expiry - timezone.now()
    assert left > settings.REST_KNOX["TOKEN_TTL"] - timedelta(days=1)


def test_it_is_audited_without_the_token(cast: Cast) -> None:
    out, _ = _create("integration")
    event = AuditEvent.objects.get(action="token.created")
    assert (event.object_type, event.object_id) == ("user", str(cast.integration.pk))
    assert out.strip() not in str(event.details)


def test_whom_it_refuses(cast: Cast) -> None:
    with pytest.raises(CommandError, match="no account 'nobody'"):
        _create("nobody")
    with pytest.raises(CommandError, match="1 or more"):
        _create("integration", "--days", "0")
    UserFactory(username="gone", is_active=False)
    with pytest.raises(CommandError, match="not active"):
        _create("gone")
    assert not AuthToken.objects.exists()


def test_it_warns_of_an_account_without_a_site(db: None) -> None:
    UserFactory(username="new")
    assert "no site" in _create("new")[1]
