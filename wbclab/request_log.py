"""One line for each request, under an id that the answer carries as well."""

import re
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import structlog
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import SimpleLazyObject

from wbclab import http_metrics

logger = structlog.get_logger(__name__)

HEADER: Final = "X-Request-ID"
# What proxies draw: a UUID or digits of a random number. Anything else is not ours to repeat.
_DRAWN: Final = re.compile(r"[0-9A-Fa-f]{8}[0-9A-Fa-f-]{8,56}")
# Asked every few seconds by machines.
_QUIET: Final = frozenset({"api_health", "metrics"})


class RequestLog:
    """Middleware, the outermost: names the request, times it, and writes what became of it.

    Neither the address nor the query is written, for both may hold what a person typed; the route
    and the numbers in it are.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = _request_id(request)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        queries = QueryTimer()
        started = time.perf_counter()
        with connection.execute_wrapper(queries):
            response = self._get_response(request)
        response[HEADER] = request_id
        _write(request, response, time.perf_counter() - started, queries)
        return response


class QueryTimer:
    """Counts the queries of a request and names the slow ones, without their parameters."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def __call__(
        self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        """Run one query (an execute wrapper of Django)."""
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            seconds = time.perf_counter() - started
            self.count += 1
            self.seconds += seconds
            if seconds > settings.SLOW_QUERY_SECONDS:
                logger.warning("slow query", seconds=round(seconds, 3), sql=sql)


def _request_id(request: HttpRequest) -> str:
    """Return the id that a proxy of ours has given, else a new one."""
    given = request.headers.get(HEADER, "") if settings.BEHIND_PROXY else ""
    return given if _DRAWN.fullmatch(given) else uuid.uuid4().hex


def _user_id(request: HttpRequest) -> int | None:
    """Return who asked, where that has been looked up already."""
    user = vars(request).get("user")
    if isinstance(user, SimpleLazyObject):
        user = getattr(request, "_cached_user", None)
    return getattr(user, "pk", None)


def _write(
    request: HttpRequest, response: HttpResponseBase, seconds: float, queries: QueryTimer
) -> None:
    match = request.resolver_match
    status = response.status_code
    if settings.METRICS_TOKEN and match:
        http_metrics.observe(match.view_name or match.route, request.method or "", status, seconds)
    quiet = (match is None and status < 400) or (match and match.url_name in _QUIET)
    write = logger.debug if quiet else logger.info if status < 500 else logger.warning
    write(
        "request",
        method=request.method,
        route=match.route if match else "",
        ids={name: one for name, one in match.kwargs.items() if isinstance(one, int)}
        if match
        else {},
        status=status,
        ms=round(seconds * 1000, 1),
        queries=queries.count,
        database_ms=round(queries.seconds * 1000, 1),
        user=_user_id(request),
    )
