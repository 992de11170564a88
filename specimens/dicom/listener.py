"""The Storage and Verification SCP: takes associations within bounds, hands over what arrives.

Who may come, what becomes of an instance and where associations are logged is for the `Intake` to
say; this module knows sockets, threads and the protocol.
"""

import logging
import ssl
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from pydicom.dataset import Dataset
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association

from specimens.dicom import network
from specimens.dicom.listener_bounds import (
    MAXIMUM_PDU_BYTES,
    SPOOL_PREFIX,
    BoundedDimse,
    Bounds,
    Spool,
)
from specimens.dicom.listener_server import BoundedServer, Welcome
from specimens.dicom.refusals import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_SOP_CLASS,
    OUT_OF_RESOURCES,
)

logger = logging.getLogger(__name__)

# PS3.8 section 9.3.4: result, source and reason of a rejection.
_UNKNOWN_CALLING_AE: Final = (1, 1, 3)
_UNKNOWN_CALLED_AE: Final = (1, 1, 7)
_LOCAL_LIMIT: Final = (2, 3, 2)
# An abandoned data set is younger than this only while its listener still works on it.
_LEFT_BEHIND_SECONDS: Final = 3600
_THIS_MACHINE: Final = ("127.0.0.1", "::1")
_COMMENT_LENGTH: Final = 64  # PS3.7 C.4.2: Error Comment is a Long String


class Answer(NamedTuple):
    """What became of an instance: a status of PS3.7 annex C, and a text where it is no success."""

    status: int
    text: str = ""


@dataclass(slots=True)
class AssociationFacts:
    """What is known of one association; `key` is the Intake's own mark on it."""

    peer: str
    encrypted: bool
    calling_ae: str = ""
    called_ae: str = ""
    state: str = "open"
    reason: str = ""
    stored: int = 0
    refused: int = 0
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    key: Any = None


class Intake(Protocol):
    """The laboratory behind the listener. No method may raise."""

    def opened(self, facts: AssociationFacts) -> None:
        """Note an association that was accepted."""

    def ended(self, facts: AssociationFacts) -> None:
        """Note its end, or a connection or association that was refused."""

    def instance(self, path: Path, facts: AssociationFacts) -> Answer:
        """Take one instance, a file of PS3.10; it is deleted afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """Who may come and how much; seconds and bytes. An empty `calling_ae_titles` lets all in."""

    ae_title: str
    host: str
    port: int
    calling_ae_titles: frozenset[str]
    folder: Path
    instance_bytes: int
    associations: int = 16
    idle_seconds: float = 30.0
    negotiation_seconds: float = 10.0
    instance_seconds: float = 300.0
    tls: ssl.SSLContext | None = None


class Listener:
    """One listening port. `start`, then `stop`."""

    def __init__(self, settings: ListenerSettings, intake: Intake) -> None:
        _config.LOG_HANDLER_LEVEL = "none"  # one log line for each PDU is too many
        self._settings = settings
        self._intake = intake
        self._facts: dict[Association, AssociationFacts] = {}
        self._storing: set[Association] = set()
        self._lock = threading.Lock()
        entity = AE(ae_title=settings.ae_title)
        entity.maximum_pdu_size = MAXIMUM_PDU_BYTES
        entity.acse_timeout = settings.negotiation_seconds
        entity.dimse_timeout = entity.network_timeout = settings.idle_seconds
        # pynetdicom counts connections that have not said who they are; `_refusal` counts better.
        entity.maximum_associations = 10_000
        self._server = BoundedServer(
            entity,
            (settings.host, settings.port),
            contexts=network.storage_contexts(),
            tls=settings.tls,
            places=2 * settings.associations + 16,
            negotiation_seconds=settings.negotiation_seconds,
            pdu_seconds=settings.idle_seconds,
            welcome=Welcome(self._begin, self._end, self._turned_away),
            handlers=[
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_ESTABLISHED, self._on_established),
                (evt.EVT_C_STORE, self._on_store),
            ],
        )

    @property
    def port(self) -> int:
        """The port it listens on; the one the system chose where 0 was asked for."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Take connections, in threads of their own; returns at once."""
        _remove_left_behind(self._settings.folder)
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def stop(self, grace_seconds: float) -> None:
        """Take no more; let instances that are under way be answered, then abort what is left."""
        self._server.stop_taking()
        deadline = time.monotonic() + grace_seconds
        while self._facts and time.monotonic() < deadline + 5:
            for association in list(self._facts):
                if time.monotonic() > deadline or not self._is_busy(association):
                    self._note(association, "The listener was stopped.")
                    association.abort(block=False)
            time.sleep(0.05)

    def _is_busy(self, association: Association) -> bool:
        dimse = association.dimse
        return association in self._storing or (
            isinstance(dimse, BoundedDimse) and dimse.is_receiving
        )

    # --- an association comes and goes ------------------------------------------------------------

    def _begin(self, association: Association, peer: str, encrypted: bool) -> None:
        settings = self._settings
        bounds = Bounds(
            folder=settings.folder,
            instance_bytes=settings.instance_bytes,
            pdu_seconds=settings.idle_seconds,
            instance_seconds=settings.instance_seconds,
        )
        association.dimse = BoundedDimse(
            association, bounds, lambda text: self._note(association, text)
        )
        self._facts[association] = AssociationFacts(peer, encrypted)

    def _end(self, association: Association) -> None:
        facts = self._facts.pop(association)
        if isinstance(association.dimse, BoundedDimse):
            association.dimse.discard_spools()
        if association.is_released:
            facts.state = "released"
        elif facts.key is not None:
            facts.state = "aborted"
            if not facts.reason:
                # Whatever else we break off for has put its reason there.
                silent = association._sent_abort
                seconds = f"{self._settings.idle_seconds:g} s"
                facts.reason = (
                    f"Silent for {seconds}." if silent else "The other side broke it off."
                )
        else:
            facts.state = "refused"
            facts.reason = facts.reason or "No association was asked for in time."
            if not facts.calling_ae and facts.peer in _THIS_MACHINE:
                return  # a health check, which only looks whether the port is open
        self._intake.ended(facts)

    def _turned_away(self, peer: str, encrypted: bool, reason: str) -> None:
        if encrypted and peer in _THIS_MACHINE and "EOF" in reason:
            return
        self._intake.ended(AssociationFacts(peer, encrypted, state="refused", reason=reason))

    def _note(self, association: Association, text: str) -> None:
        facts = self._facts.get(association)
        if facts is not None and not facts.reason:
            facts.reason = text
            logger.info("%s (%s): %s", facts.calling_ae or "?", facts.peer, text)

    def _on_requested(self, event: evt.Event) -> None:
        """Accept or reject who asks, before anything is negotiated."""
        association = event.assoc
        facts = self._facts[association]
        request: Any = association.requestor.primitive
        facts.calling_ae = str(request.calling_ae_title).strip()
        facts.called_ae = str(request.called_ae_title).strip()
        rejection = self._refusal(facts)
        if rejection is None:
            return
        reason, facts.reason = rejection
        association.acse.send_reject(*reason)
        association.kill()

    def _refusal(self, facts: AssociationFacts) -> tuple[tuple[int, int, int], str] | None:
        settings = self._settings
        allowed = settings.calling_ae_titles
        if allowed and facts.calling_ae not in allowed:
            return _UNKNOWN_CALLING_AE, "The calling AE title is not in WBCLAB_DICOM_PEERS."
        if facts.called_ae != settings.ae_title:
            return _UNKNOWN_CALLED_AE, f"Here answers {settings.ae_title}, not the called AE title."
        with self._lock:
            opened = sum(other.key is not None for other in list(self._facts.values()))
            if opened >= settings.associations:
                return _LOCAL_LIMIT, f"All {settings.associations} associations are in use."
            facts.key = True  # the place is taken
        return None

    def _on_established(self, event: evt.Event) -> None:
        self._intake.opened(self._facts[event.assoc])

    # --- an instance ------------------------------------------------------------------------------

    def _on_store(self, event: evt.Event) -> Dataset:
        """Answer a C-STORE, after what it brought is on record or refused (PS3.4 annex B)."""
        association = event.assoc
        self._storing.add(association)
        try:
            answer = self._store(event, self._facts[association])
        finally:
            self._storing.discard(association)
            # Working on an instance is not silence of the other side.
            association.dul._idle_timer.restart()
        return _response(answer)

    def _store(self, event: evt.Event, facts: AssociationFacts) -> Answer:
        spool: Any = event.request._dataset_file
        if not isinstance(spool, Spool):
            return Answer(CANNOT_UNDERSTAND, "The command came without a data set.")
        try:
            answer = self._take(event, spool, facts)
        except OSError:
            logger.exception("an instance could not be kept in %s", self._settings.folder)
            answer = Answer(OUT_OF_RESOURCES, "The disk is full. Send it again later.")
        finally:
            spool.discard()
        if answer.status == network.SUCCESS:
            facts.stored += 1
        else:
            facts.refused += 1
            facts.reason = answer.text[:300]
            # The text may repeat what the data set said; it stands in the log of imports.
            logger.info("%s: an instance was refused: %#06x", facts.calling_ae, answer.status)
        return answer

    def _take(self, event: evt.Event, spool: Spool, facts: AssociationFacts) -> Answer:
        if spool.is_oversized:
            limit = self._settings.instance_bytes // 1024**2
            return Answer(OUT_OF_RESOURCES, f"Above the limit of {limit} MB an instance.")
        if event.request.AffectedSOPClassUID != event.context.abstract_syntax:
            text = "The SOP class is not that of the presentation context."
            return Answer(DOES_NOT_MATCH_SOP_CLASS, text)
        return self._intake.instance(spool.finish(), facts)


def _response(answer: Answer) -> Dataset:
    response = Dataset()
    response.Status = answer.status
    if answer.status != network.SUCCESS and answer.text:
        text = answer.text.encode("ascii", "replace").decode().replace("\\", "/")
        response.ErrorComment = text[:_COMMENT_LENGTH]
    return response


def _remove_left_behind(folder: Path) -> None:
    """Delete data sets whose listener died over them: their senders were told of no success."""
    folder.mkdir(parents=True, exist_ok=True)
    oldest = time.time() - _LEFT_BEHIND_SECONDS
    for path in folder.glob(f"{SPOOL_PREFIX}*"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
