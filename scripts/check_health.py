"""The health check of a container: python scripts/check_health.py ROLE. Exit code 0 is healthy.

It asks whether this container works, not whether the whole laboratory does (that is /api/health):
a web server without a worker still takes images in, and restarting it would help nobody.
"""

import http.client
import os
import socket
import sys
from datetime import timedelta
from pathlib import Path

HEARTBEAT_SECONDS = 60


def web() -> bool:
    """Does the web server answer? Any answer that is not its own failure will do."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ.get("WBCLAB_PORT", "8000")), timeout=5
    )
    connection.request("GET", "/api/health", headers={"X-Forwarded-Proto": "https"})
    status = connection.getresponse().status
    return status < 500 or status == 503


def worker() -> bool:
    """Has a worker of this host given a sign of life?"""
    from django.utils import timezone

    from specimens.models import WorkerHeartbeat

    since = timezone.now() - timedelta(seconds=HEARTBEAT_SECONDS)
    name = f"{socket.gethostname()}:"
    return WorkerHeartbeat.objects.filter(worker__startswith=name, seen_at__gte=since).exists()


def deliverer() -> bool:
    """Has a deliverer of this host given a sign of life?"""
    from django.utils import timezone

    from specimens.models import DelivererHeartbeat

    since = timezone.now() - timedelta(seconds=HEARTBEAT_SECONDS)
    name = f"{socket.gethostname()}:"
    return DelivererHeartbeat.objects.filter(worker__startswith=name, seen_at__gte=since).exists()


def reaches_database_and_broker() -> bool:
    """Can this container do its work? That its process lives is what its restart policy sees to."""
    from django.conf import settings
    from django.db import connection
    from kombu import Connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    with Connection(settings.REDIS_URL, connect_timeout=3) as broker:
        broker.ensure_connection(max_retries=1)
    return True


def dicom_listener() -> bool:
    """Does the listener take connections? It does not log one that says nothing from here."""
    port = int(os.environ.get("WBCLAB_DICOM_PORT", "11112"))
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


def hl7_listener() -> bool:
    """Does the listener take connections?"""
    port = int(os.environ.get("WBCLAB_HL7_PORT", "2575"))
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


CHECKS = {
    "web": web,
    "worker": worker,
    "gpu-worker": worker,
    "dicom-listener": dicom_listener,
    "hl7-listener": hl7_listener,
    "sweeper": reaches_database_and_broker,
    "deliverer": deliverer,
}


def main(role: str) -> int:
    if role not in {"web", "dicom-listener", "hl7-listener"}:
        import django

        sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "wbclab.settings")
        django.setup()
    try:
        healthy = CHECKS[role]()
    except Exception as error:
        print(f"{role}: {error}", file=sys.stderr)
        return 1
    return 0 if healthy else 1


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CHECKS:
        print(f"usage: check_health.py {'|'.join(CHECKS)}", file=sys.stderr)
        sys.exit(64)
    sys.exit(main(sys.argv[1]))
