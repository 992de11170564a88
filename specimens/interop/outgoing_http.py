"""One HTTP request to another system: guarded address, no redirect, bounded in time and size."""

import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import httpcore
import httpx
from django.conf import settings

from specimens.interop.addresses import Address, AddressRefused, Allowed, checked_addresses
from specimens.interop.channels import PermanentFailure, TemporaryFailure, Unreachable

CONNECT_SECONDS: Final = 5.0
MOST_BYTES: Final = 64 * 1024
_AWAY: Final = frozenset({408, 429, 502, 503, 504})
_LATER: Final = frozenset({409, 423, 425})


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said: at most MOST_BYTES of it."""

    status: int
    headers: httpx.Headers
    content: bytes


def allowed_hosts() -> Allowed:
    """Return what the administrator of the machine allows beyond public addresses."""
    return Allowed.read(settings.DELIVERY_ALLOWED_HOSTS)


@cache
def _trust() -> ssl.SSLContext:
    """Return the machine's own authorities (SSL_CERT_FILE): a hospital's may be among them."""
    return ssl.create_default_context()


def url_problem(address: str) -> str:
    """Return what is wrong with an address, for people; empty where nothing is."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        return f"This is not an address: {error}."
    if url.scheme not in ("https", "http") or not url.host:
        return "Write it as https://host/path."
    if url.userinfo:
        return "No user name or password in the address: it is shown to people and logged."
    return "A fragment (#) is never sent; leave it out." if url.fragment else ""


def request(
    method: str,
    address: str,
    *,
    content: bytes = b"",
    headers: Mapping[str, str],
    allowed: Allowed,
    seconds: float = 20.0,
    judged_by_caller: frozenset[int] = frozenset(),
) -> Answer:
    """Send one request and return the answer: 2xx, or a status that is `judged_by_caller`.

    The name is resolved and judged here and the connection goes to the judged address; TLS still
    asks for a certificate of the name. Proxies of the environment are not used: they would resolve
    the name again. Raises Unreachable, TemporaryFailure, PermanentFailure.
    """
    if problem := url_problem(address):
        raise PermanentFailure(f"The address of the destination is wrong. {problem}")
    url = httpx.URL(address)
    answer = _exchange(method, url, content, headers, _resolved(url, allowed), seconds)
    if answer.status not in judged_by_caller:
        _judge(answer)
    return answer


def _resolved(url: httpx.URL, allowed: Allowed) -> list[Address]:
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        addresses = checked_addresses(url.host, port, allowed)
    except AddressRefused as refusal:
        raise PermanentFailure(f"Not sent: {refusal}") from refusal
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"The name {url.host} cannot be resolved ({_reason(error)}).") from error
    if url.scheme == "http" and not all(allowed.names(url.host, one) for one in addresses):
        raise PermanentFailure(
            "Not sent: http:// would carry the result in clear. Use https://, or have the host "
            "added to WBCLAB_DELIVERY_ALLOWED_HOSTS."
        )
    return addresses


def _exchange(
    method: str,
    url: httpx.URL,
    content: bytes,
    headers: Mapping[str, str],
    addresses: list[Address],
    seconds: float,
) -> Answer:
    """Send and read under one deadline for everything from the connection to the last byte."""
    deadline = time.monotonic() + seconds
    backend = _Pinned(addresses, deadline)
    lines = {"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity", **headers}
    try:
        with (
            httpcore.ConnectionPool(ssl_context=_trust(), network_backend=backend) as pool,
            pool.stream(method, str(url), headers=[*lines.items()], content=content) as response,
        ):
            received = b""
            for chunk in response.iter_stream():
                received += chunk
                if len(received) > MOST_BYTES:
                    break  # the rest is not needed to know what became of the message
            return Answer(response.status, httpx.Headers(response.headers), received[:MOST_BYTES])
    except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
        raise Unreachable(f"{url.host} cannot be reached ({_reason(error)}).") from error
    except httpcore.TimeoutException as error:
        raise Unreachable(f"{url.host} did not answer within {seconds:g} s.") from error
    except (httpcore.NetworkError, httpcore.ProtocolError) as error:
        raise Unreachable(f"The connection to {url.host} broke off ({_reason(error)}).") from error


class _Pinned(httpcore.NetworkBackend):
    """Connects to the addresses that were judged, whatever the name resolves to by now."""

    def __init__(self, addresses: list[Address], deadline: float) -> None:
        self._addresses = addresses
        self._deadline = deadline
        self._backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses in turn."""
        failure: Exception = httpcore.ConnectError("the name has no address")
        for address in self._addresses:
            left = min(CONNECT_SECONDS, _left(self._deadline, httpcore.ConnectTimeout))
            try:
                stream = self._backend.connect_tcp(
                    str(address), port, left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            return _Timed(stream, self._deadline)
        raise failure


class _Timed(httpcore.NetworkStream):
    """A stream with a deadline for all of it: one byte a second is no way to keep a lane busy."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(self._deadline, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _left(self._deadline, httpcore.ConnectTimeout)
        return _Timed(self._stream.start_tls(ssl_context, server_hostname, left), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left(deadline: float, timeout: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise timeout
    return left


def _judge(answer: Answer) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    said = f"The receiver answered {status}{_excerpt(answer)}"
    if 300 <= status < 400:
        raise PermanentFailure(
            f"{said}: a redirect, which is never followed. Enter the final address."
        )
    if status in _AWAY:
        raise Unreachable(f"{said}.")
    if status >= 500 or status in _LATER:
        raise TemporaryFailure(f"{said}.")
    raise PermanentFailure(f"{said}: it does not take this message.")


def _excerpt(answer: Answer) -> str:
    text = " ".join(answer.content[:200].decode("utf-8", "replace").split())
    return f" ({text})" if text.isprintable() and text else ""


def _reason(error: BaseException) -> str:
    """Return the error as people read it: what the system says, without class names."""
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
