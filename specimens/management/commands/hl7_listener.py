"""The HL7 listener: takes orders and patient updates over MLLP (docs/integration.md)."""

import ipaddress
import logging
import signal
import ssl
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, connection

from specimens.interop.hl7.charsets import CODECS
from specimens.interop.hl7.framing import FrameTooLarge
from specimens.interop.hl7.server import Bounds, MllpServer, Network
from specimens.interop.hl7.tls import server_context
from specimens.models import Site, User
from specimens.services.inbound_messages import (
    receive_message,
    too_large_answer,
    unavailable_answer,
    unreadable_answer,
)

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Take HL7 v2 messages over MLLP until stopped. Settings: WBCLAB_HL7_*."
    # They are for `manage.py check`: they would load every page, and 35 MB with them.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default=settings.HL7_HOST)
        parser.add_argument("--port", type=int, default=settings.HL7_PORT)
        parser.add_argument("--site", default=settings.HL7_SITE, help="code of the site")
        parser.add_argument("--user", default=settings.HL7_USER, help="integration account")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.HL7_CHARSET not in CODECS:
            raise CommandError(f"WBCLAB_HL7_CHARSET must be one of {', '.join(CODECS)}.")
        intake = Intake(options["site"], options["user"])
        host, port = options["host"], options["port"]
        try:
            server = MllpServer(
                host,
                port,
                intake.answer,
                too_large=_too_large,
                bounds=Bounds(
                    message_bytes=settings.HL7_MESSAGE_BYTES,
                    connections=settings.HL7_CONNECTIONS,
                    idle_seconds=settings.HL7_IDLE_SECONDS,
                    message_seconds=settings.HL7_MESSAGE_SECONDS,
                ),
                tls=_tls(),
                peers=_peers(),
            )
        except OSError as error:
            raise CommandError(f"Cannot listen at {host}:{port}: {error.strerror}.") from error
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stopping(server))
        intake.warn()
        logger.info("HL7 listener at %s:%s%s", host, server.port, ", TLS" if _tls() else "")
        # In a thread of its own: a signal then never falls into the middle of an accept.
        serving = threading.Thread(target=server.serve, name="mllp accept")
        serving.start()
        serving.join()
        logger.info("HL7 listener stopped")


class Intake:
    """Answers messages for one site, as one account; each answer uses the database once."""

    def __init__(self, site: str, user: str) -> None:
        self.site = site
        self.user = user

    def answer(self, raw: bytes, peer: str) -> bytes:
        """Return the acknowledgement; where nothing could be recorded, one that says so."""
        if (refused := unreadable_answer(raw)) is not None:
            logger.warning("%s sent no HL7 message", peer)
            return refused
        structlog.contextvars.clear_contextvars()
        try:
            actor, site = self._who_and_where()
            return receive_message(actor=actor, site=site, raw=raw, peer=peer)
        except (LookupError, PermissionDenied) as error:
            logger.error("HL7 is not set up: %s", error)
            return unavailable_answer(raw, f"The laboratory is not set up for HL7: {error}")
        except DatabaseError as error:
            logger.warning("the database cannot be used (%s)", error)
            return unavailable_answer(raw)
        finally:
            connection.close()

    def warn(self) -> None:
        """Say at the start what is missing; messages are answered AE until it is there."""
        try:
            self._who_and_where()
        except (LookupError, DatabaseError) as error:
            logger.warning("HL7 is not set up yet: %s", error)
        finally:
            connection.close()

    def _who_and_where(self) -> tuple[User, Site]:
        user = User.objects.filter(username=self.user, is_active=True).first()
        if user is None:
            raise LookupError(f"There is no active account “{self.user}” (WBCLAB_HL7_USER).")
        if user.role != "integration":
            raise LookupError(f"The account “{self.user}” is not of the integration role.")
        sites = list(user.sites.filter(code=self.site) if self.site else user.sites.all())
        if len(sites) != 1:
            wanted = f"does not belong to site “{self.site}”" if self.site else (
                f"belongs to {len(sites)} sites: name one"
            )  # fmt: skip
            raise LookupError(f"The account “{self.user}” {wanted} (WBCLAB_HL7_SITE).")
        return user, sites[0]


def _too_large(error: FrameTooLarge) -> bytes:
    return too_large_answer(error.head, f"{error} Send less, or raise WBCLAB_HL7_MESSAGE_BYTES.")


def _tls() -> ssl.SSLContext | None:
    certificate, key = settings.HL7_TLS_CERTIFICATE, settings.HL7_TLS_KEY
    authorities = settings.HL7_TLS_CLIENT_CA
    if not certificate and not key and not authorities:
        return None
    if not certificate or not key:
        raise CommandError("TLS needs both WBCLAB_HL7_TLS_CERTIFICATE and WBCLAB_HL7_TLS_KEY.")
    try:
        return server_context(
            Path(certificate), Path(key), Path(authorities) if authorities else None
        )
    except OSError as error:
        raise CommandError(f"WBCLAB_HL7_TLS_*: a file cannot be used: {error}") from error


def _peers() -> list[Network]:
    try:
        return [ipaddress.ip_network(text.strip()) for text in settings.HL7_PEERS if text.strip()]
    except ValueError as error:
        raise CommandError(f"WBCLAB_HL7_PEERS: {error}") from error


def _stopping(server: MllpServer) -> Any:
    def on_signal(number: int, frame: FrameType | None) -> None:
        server.stop()

    return on_signal
