"""Who calls: `Authorization: Token ...`, or the session of the portal."""

from collections.abc import Iterator
from contextlib import contextmanager
from hmac import compare_digest
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from knox.settings import CONSTANTS
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from specimens.models import TokenGrant, User
from specimens.selectors.bearers import tokens_with_key
from specimens.services.guessing import TOKENS, count_wrong
from specimens.services.tokens import revoke_tokens, why_outdated

WRONG_TOKEN: Final = "The token is not valid: it is mistyped, revoked or expired."  # noqa: S105


class TokenEnded(AuthenticationFailed):
    """The token is known, and no longer good."""


class TokenAuthentication(KnoxTokenAuthentication):
    """Hashed, expiring, scoped tokens; whatever stands in the header is a 401, never a 500.

    A view may name the scope it needs as `required_scope`, None for any; without it reading needs
    `read` and every other method `write`.
    """

    def authenticate(self, request: Request) -> tuple[User, AuthToken] | None:
        """Return account and token row; 401 for a token that has ended, 403 beyond its scope."""
        with counting_wrong_tokens(request):
            found = super().authenticate(request)
        if found is None:
            return None
        user, token = found
        require_scope(request, token)
        return user, token

    def authenticate_credentials(self, token: bytes) -> tuple[AbstractBaseUser, Any]:
        """Return user and token row, or raise AuthenticationFailed with a text for people."""
        if not token.isascii():
            raise AuthenticationFailed(WRONG_TOKEN)
        text = token.decode()
        # Knox would read all tokens of the account with each call, to clear away expired ones.
        for row in tokens_with_key(text[: CONSTANTS.TOKEN_KEY_LENGTH]):
            if compare_digest(hash_token(text), row.digest):
                if row.expiry is not None and row.expiry < timezone.now():
                    row.delete()
                    break
                return self.validate_user(row)
        raise AuthenticationFailed(WRONG_TOKEN)

    def validate_user(self, auth_token: AuthToken) -> tuple[User, AuthToken]:
        """End a token that no longer fits its account; also where nothing else noticed."""
        user: User = auth_token.user
        why = why_outdated(auth_token, user)
        if why:
            revoke_tokens(actor=None, user=user)
            raise TokenEnded(f"The token has ended: {why}.")
        return user, auth_token


@contextmanager
def counting_wrong_tokens(request: Request) -> Iterator[None]:
    """Turn the 401 for a wrong token into 429 for an address that has sent too many.

    Right ones pass all the same: they are too long to be guessed (256 bits), and a machine whose
    token has ended may stand behind the same address as all others.
    """
    try:
        yield
    except AuthenticationFailed:
        count_wrong(request._request, TOKENS)
        raise


def require_scope(request: Request, token: AuthToken) -> None:
    """Raise PermissionDenied where the token was not given for what the view needs."""
    view = (request.parser_context or {}).get("view")
    needed = getattr(view, "required_scope", _scope_of(request.method))
    if needed is not None and needed not in token.grant.scopes:
        raise PermissionDenied(
            f"The token does not have the scope “{needed}” that this call needs.",
            code="insufficient_scope",
        )


def _scope_of(method: str | None) -> str:
    return TokenGrant.Scope.READ if method in SAFE_METHODS else TokenGrant.Scope.WRITE


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Documents the header in the OpenAPI schema."""

    target_class = "specimens.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Return the scheme: an API key in the Authorization header, with its prefix."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "`Token` and the token, for example `Token 0123abcd`.",
        }
