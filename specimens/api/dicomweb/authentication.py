"""Who calls DICOMweb: a token as `Bearer`, as `Token`, or as the password of `Basic`.

Many senders, Orthanc among them, can do nothing but Basic: the account's name and the token.
"""

import base64
import binascii
from typing import Final, NamedTuple

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from knox.models import AuthToken
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from specimens.api.authentication import (
    WRONG_TOKEN,
    TokenAuthentication,
    counting_wrong_tokens,
    require_scope,
)
from specimens.models import User

_LONGEST_HEADER: Final = 1000


class _Credentials(NamedTuple):
    token: str
    username: str | None  # None: not said


class DicomWebAuthentication(BaseAuthentication):
    """The tokens of the REST interface, in the headers that DICOMweb clients can send."""

    def authenticate(self, request: Request) -> tuple[User, AuthToken] | None:
        """Return account and token row; 401 where the name is not that of the token's account."""
        with counting_wrong_tokens(request):
            credentials = _read(get_authorization_header(request))
            if credentials is None:
                return None
            tokens = TokenAuthentication()
            user, token = tokens.authenticate_credentials(credentials.token.encode("ascii"))
            if not isinstance(user, User) or credentials.username not in (
                None,
                user.get_username(),
            ):
                raise AuthenticationFailed(
                    "The token belongs to another account than the one named."
                )
        require_scope(request, token)
        return user, token

    def authenticate_header(self, request: Request) -> str:
        """Ask for Basic, which every client knows."""
        return 'Basic realm="wbclab: account and token", charset="UTF-8"'


def _read(header: bytes) -> _Credentials | None:
    scheme, _, rest = header.partition(b" ")
    rest = rest.strip()
    if scheme.lower() not in (b"bearer", b"token", b"basic") or len(header) > _LONGEST_HEADER:
        return None
    try:
        if scheme.lower() != b"basic":
            return _Credentials(_word(rest.decode("ascii")), None)
        pair = base64.b64decode(rest, validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise AuthenticationFailed(WRONG_TOKEN) from error
    username, separator, token = pair.partition(":")
    if not separator:
        raise AuthenticationFailed(WRONG_TOKEN)
    return _Credentials(_word(token), username)


def _word(token: str) -> str:
    if not token or not token.isascii() or not token.isalnum():
        raise AuthenticationFailed(WRONG_TOKEN)
    return token


class DicomWebScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Documents the headers in the OpenAPI schema."""

    target_class = "specimens.api.dicomweb.authentication.DicomWebAuthentication"
    name = ["bearer", "basic"]

    def get_security_definition(self, auto_schema: object) -> list[dict[str, str]]:
        """Return the two schemes."""
        return [{"type": "http", "scheme": "bearer"}, {"type": "http", "scheme": "basic"}]
