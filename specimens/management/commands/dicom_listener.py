"""The DICOM listener: takes images by C-STORE, answers C-ECHO (docs/dicom-conformance.md)."""

import logging
import signal
import ssl
import threading
from pathlib import Path
from types import FrameType
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connections

from specimens.dicom.listener import Listener, ListenerSettings
from specimens.dicom.network import is_ae_title, server_tls
from specimens.selectors.dicom_network import EVERYBODY, peers
from specimens.services.dicom_network import DatabaseIntake, close_open_associations

logger = logging.getLogger(__name__)
GRACE_SECONDS: Final = 15.0


class Command(BaseCommand):
    help = "Listen for DICOM images (C-STORE) until stopped. Settings: WBCLAB_DICOM_*."
    # They are for `manage.py check`: they would load every page, and 35 MB with them.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=settings.DICOM_PORT)

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _setting(stopped))
        intake = DatabaseIntake()
        try:
            listener = Listener(listener_settings(options["port"]), intake)
        except OSError as error:
            where = f"{settings.DICOM_HOST}:{options['port']}"
            raise CommandError(f"Cannot listen at {where}: {error.strerror or error}.") from error
        _close_what_was_left(intake)
        listener.start()
        logger.info("%s listens at port %s", settings.DICOM_AE_TITLE, listener.port)
        stopped.wait()
        logger.info("stopping: instances that are under way are answered first")
        listener.stop(GRACE_SECONDS)


def listener_settings(port: int) -> ListenerSettings:
    """Put the settings together.

    Raises:
        CommandError: one of them is missing or wrong; the text names it.
    """
    if not is_ae_title(settings.DICOM_AE_TITLE):
        raise CommandError("WBCLAB_DICOM_AE_TITLE is no AE title: 1 to 16 characters of ASCII.")
    try:
        allowed = set(peers())
    except ValueError as error:
        raise CommandError(str(error)) from error
    if not allowed:
        raise CommandError(
            "WBCLAB_DICOM_PEERS is empty, so nobody could send anything. List the AE titles that "
            "may, separated by commas (or * for all: only in a network you trust)."
        )
    return ListenerSettings(
        ae_title=settings.DICOM_AE_TITLE,
        host=settings.DICOM_HOST,
        port=port,
        calling_ae_titles=frozenset() if EVERYBODY in allowed else frozenset(allowed),
        folder=settings.INCOMING_DIR,
        instance_bytes=settings.DICOM_INSTANCE_MB * 1024**2,
        associations=settings.DICOM_ASSOCIATIONS,
        idle_seconds=settings.DICOM_IDLE_SECONDS,
        negotiation_seconds=min(10.0, settings.DICOM_IDLE_SECONDS),
        tls=_tls(),
    )


def _tls() -> ssl.SSLContext | None:
    certificate, key = settings.DICOM_TLS_CERTIFICATE, settings.DICOM_TLS_KEY
    authority = settings.DICOM_TLS_CA
    if not certificate and not key and not authority:
        return None
    if not certificate or not key:
        raise CommandError(
            "TLS needs both WBCLAB_DICOM_TLS_CERTIFICATE and WBCLAB_DICOM_TLS_KEY "
            "(and WBCLAB_DICOM_TLS_CA where clients must show a certificate)."
        )
    try:
        return server_tls(Path(certificate), Path(key), Path(authority) if authority else None)
    except (OSError, ssl.SSLError) as error:
        raise CommandError(f"WBCLAB_DICOM_TLS_*: a file cannot be used: {error}") from error


def _close_what_was_left(intake: DatabaseIntake) -> None:
    try:
        close_open_associations(intake.name)
    except DatabaseError as error:
        logger.warning("the database cannot be used yet (%s)", error)
    finally:
        connections.close_all()


def _setting(event: threading.Event) -> Any:
    def on_signal(number: int, frame: FrameType | None) -> None:
        event.set()

    return on_signal
