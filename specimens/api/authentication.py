"""Who calls: `Authorization: Token ...`, or the session of the portal."""

from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.auth import TokenAuthentication as KnoxTokenAuthentication
from rest_framework.exceptions import AuthenticationFailed

WRONG_TOKEN: Final = "The token is not valid: it is mistyped, revoked or expired."  # noqa: S105


class TokenAuthentication(KnoxTokenAuthentication):
    """Hashed, expiring tokens; whatever stands in the header is answered with 401, never 500."""

    def authenticate_credentials(self, token: bytes) -> tuple[AbstractBaseUser, Any]:
        """Return user and token row, or raise AuthenticationFailed with a text for people."""
        if not token.isascii():
            raise AuthenticationFailed(WRONG_TOKEN)
        found: tuple[AbstractBaseUser, Any] | None = None
        try:
            found = super().authenticate_credentials(token)
        except AuthenticationFailed as failed:
            if "inactive" in str(failed.detail).lower():
                raise AuthenticationFailed("The account of this token is not active.") from failed
            raise AuthenticationFailed(WRONG_TOKEN) from failed
        return found


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
