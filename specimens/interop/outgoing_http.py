"""One HTTP request to another system: guarded address, no redirect, bounded in time and size."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address
from typing import Final

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
    answer = _first_answer(method, url, content, headers, _resolved(url, allowed), seconds)
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


def _first_answer(
    method: str,
    url: httpx.URL,
    content: bytes,
    headers: Mapping[str, str],
    addresses: list[Address],
    seconds: float,
) -> Answer:
    """Try the addresses in turn; only where no connection came about does the next one count."""
    deadline = time.monotonic() + seconds
    failure: Exception = OSError("it has no address")
    for address in addresses:
        try:
            return _exchange(method, url, content, headers, address, deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            failure = error
        except httpx.TimeoutException as error:
            text = f"{url.host} did not answer within {seconds:g} s."
            raise Unreachable(text) from error
        except httpx.HTTPError as error:
            text = f"The connection to {url.host} broke off ({_reason(error)})."
            raise Unreachable(text) from error
    raise Unreachable(f"{url.host} cannot be reached ({_reason(failure)}).") from failure


def _exchange(
    method: str,
    url: httpx.URL,
    content: bytes,
    headers: Mapping[str, str],
    address: Address,
    deadline: float,
) -> Answer:
    left = max(0.1, deadline - time.monotonic())
    timeout = httpx.Timeout(left, connect=min(CONNECT_SECONDS, left))
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    with (
        httpx.Client(
            timeout=timeout, trust_env=False, follow_redirects=False, verify=_trust()
        ) as client,
        client.stream(
            method,
            url.copy_with(host=host),
            content=content,
            headers={"Accept-Encoding": "identity", **headers, "Host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        ) as response,
    ):
        received = b""
        for chunk in response.iter_raw(4096):
            received += chunk
            if time.monotonic() > deadline:
                raise httpx.ReadTimeout("the answer drips in too slowly")
            if len(received) > MOST_BYTES:
                break  # the rest is not needed to know what became of the message
        return Answer(response.status_code, response.headers, received[:MOST_BYTES])


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
