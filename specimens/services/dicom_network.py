"""What stands behind the listener: instances go to the import, associations to their log."""

import errno
import logging
import os
import socket
from pathlib import Path
from typing import Any, Final

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.models import F
from django.utils import timezone

from specimens.dicom.listener import Answer, AssociationFacts
from specimens.dicom.network import PROCESSING_FAILURE, SUCCESS
from specimens.dicom.refusals import NOT_AUTHORISED, OUT_OF_RESOURCES, DicomRefusal
from specimens.models import AssociationLog
from specimens.selectors.dicom_network import site_of_peer
from specimens.services.dicom_import import receive_instance
from specimens.services.errors import QueueFull, StorageUnavailable

logger = logging.getLogger(__name__)

DATABASE_AWAY: Final = (OperationalError, InterfaceError)
# Refusals can be provoked by anybody, so their log must not grow for ever.
KEPT_ROWS: Final = 20_000
_SWEEP_EVERY: Final = 500


class DatabaseIntake:
    """The `Intake` of the listener: PS3.4 annex B with the database behind it."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}"[:80]
        self._written = 0

    def opened(self, facts: AssociationFacts) -> None:
        """Write the row of an association that was accepted."""
        try:
            facts.key = AssociationLog.objects.create(**self._values(facts)).pk
        except DatabaseError as error:
            logger.warning("an association cannot be logged (%s)", error)
        finally:
            connections.close_all()

    def ended(self, facts: AssociationFacts) -> None:
        """Complete its row; equal refusals in a row share one."""
        try:
            self._complete(facts)
            self._written += 1
            if self._written % _SWEEP_EVERY == 0:
                forget_old_associations()
        except DatabaseError as error:
            logger.warning("an association cannot be logged (%s)", error)
        finally:
            connections.close_all()

    def instance(self, path: Path, facts: AssociationFacts) -> Answer:
        """Import one instance; success only after the commit."""
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(association=facts.key)
        try:
            return self._import(path, facts)
        except DicomRefusal as refusal:
            return Answer(refusal.dicom_status, refusal.text)
        except (QueueFull, StorageUnavailable) as refusal:
            return Answer(OUT_OF_RESOURCES, str(refusal))
        except DATABASE_AWAY as error:
            logger.warning("the database cannot be used (%s)", error)
            return Answer(OUT_OF_RESOURCES, "The database is away. Send it again later.")
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO):
                logger.exception("an instance could not be imported")
            return Answer(OUT_OF_RESOURCES, "The image store cannot be written. Send it later.")
        except Exception:
            logger.exception("an instance could not be imported")
            return Answer(PROCESSING_FAILURE, "The platform failed; its log says more.")
        finally:
            connections.close_all()

    def _import(self, path: Path, facts: AssociationFacts) -> Answer:
        site = site_of_peer(facts.calling_ae)
        if site is None:
            text = "No site for this AE title; see WBCLAB_DICOM_SITE."
            return Answer(NOT_AUTHORISED, text)
        sender = f"{facts.calling_ae} ({facts.peer})"
        outcome = receive_instance(actor=None, site=site, path=path, sender=sender, way="c-store")
        return Answer(SUCCESS, outcome.text)

    def _values(self, facts: AssociationFacts) -> dict[str, Any]:
        return {
            "listener": self.name,
            "peer": facts.peer[:64],
            "calling_ae": facts.calling_ae[:16],
            "called_ae": facts.called_ae[:16],
            "encrypted": facts.encrypted,
            "state": facts.state,
            "reason": facts.reason[:300],
            "stored": facts.stored,
            "refused": facts.refused,
            "started_at": facts.started_at,
        }

    def _complete(self, facts: AssociationFacts) -> None:
        now = timezone.now()
        if facts.key is None or facts.key is True:
            if not self._is_repeated(facts):
                AssociationLog.objects.create(**self._values(facts), ended_at=now)
            return
        AssociationLog.objects.filter(pk=facts.key).update(
            state=facts.state,
            reason=facts.reason[:300],
            stored=facts.stored,
            refused=facts.refused,
            ended_at=now,
        )

    def _is_repeated(self, facts: AssociationFacts) -> bool:
        """Count a refusal at the newest row, where that says the same."""
        newest = AssociationLog.objects.order_by("-started_at", "-pk").values_list("pk", flat=True)
        same = {
            key: value
            for key, value in self._values(facts).items()
            if key not in ("started_at", "stored", "refused")
        }
        return bool(
            AssociationLog.objects.filter(**same, pk__in=list(newest[:20])).update(
                occurrences=F("occurrences") + 1, ended_at=timezone.now()
            )
        )


@transaction.atomic
def forget_old_associations(keep: int = KEPT_ROWS) -> int:
    """Delete all but the newest `keep` rows of the log; return how many went."""
    newest = AssociationLog.objects.order_by("-started_at", "-pk")
    last = newest.values_list("started_at", flat=True)[keep : keep + 1].first()
    if last is None:
        return 0
    return AssociationLog.objects.filter(started_at__lte=last).delete()[0]


def close_open_associations(listener: str) -> int:
    """Mark what a listener of this host left open when it died; its host name tells."""
    host = listener.rpartition(":")[0]
    return AssociationLog.objects.filter(
        listener__startswith=f"{host}:", state=AssociationLog.State.OPEN
    ).update(
        state=AssociationLog.State.ABORTED,
        reason="The listener ended while it was open.",
        ended_at=timezone.now(),
    )
