"""Counters of the web processes, for Prometheus.

With several processes they lie in files of a folder they share (PROMETHEUS_MULTIPROC_DIR, set by
scripts/service.sh); everything else that is measured stands in the database.
"""

from typing import Any, Final

from django.contrib.auth.signals import user_login_failed
from django.dispatch import receiver
from prometheus_client import Counter, Histogram

_BOUNDS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)

REQUESTS = Counter("wbclab_http_requests", "Requests answered.", ["view", "method", "status"])
SECONDS = Histogram("wbclab_http_request_seconds", "Time to answer.", ["view"], buckets=_BOUNDS)
SIGN_IN_FAILURES = Counter("wbclab_sign_in_failures", "Wrong user names or passwords.")


def observe(view: str, method: str, status: int, seconds: float) -> None:
    """Count one answer."""
    REQUESTS.labels(view, method, status).inc()
    SECONDS.labels(view).observe(seconds)


# A signal of Django's own: there is no other place that every way of signing in passes.
@receiver(user_login_failed)
def _count_failure(**_: Any) -> None:
    SIGN_IN_FAILURES.inc()
