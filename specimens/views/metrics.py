"""What Prometheus asks for: figures, never names (docs/operations.md)."""

import os

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_GET
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from specimens.selectors.metrics import DatabaseCollector


@require_GET
@login_not_required
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer who has the token; without a token in the settings there is nothing here."""
    if not settings.METRICS_TOKEN:
        raise Http404
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind != "Bearer" or not constant_time_compare(given, settings.METRICS_TOKEN):
        text = "Send the token of WBCLAB_METRICS_TOKEN: Authorization: Bearer <token>\n"
        headers = {"WWW-Authenticate": "Bearer"}
        return HttpResponse(text, status=401, content_type="text/plain", headers=headers)
    registry = CollectorRegistry()
    registry.register(DatabaseCollector())
    body = generate_latest(registry) + generate_latest(_of_the_web_processes())
    headers = {"Cache-Control": "no-store"}
    return HttpResponse(body, content_type=CONTENT_TYPE_LATEST, headers=headers)


def _of_the_web_processes() -> CollectorRegistry:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together
