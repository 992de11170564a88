"""Fetching a specimen's images from an archive of its site: looked for by accession number."""

import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.db import transaction

from specimens import workflow
from specimens.dicom.archive import ArchiveError, FoundStudy
from specimens.dicom.network import client_tls
from specimens.dicom.refusals import DicomRefusal
from specimens.interop.channels import SECRET_PREFIX, read_secret
from specimens.models import DicomInstance, PacsServer, Specimen, User
from specimens.models.dicom import Way
from specimens.permissions import Action, require, visible_to
from specimens.services import audit
from specimens.services.dicom_import import receive_instance

# Their libraries are imported where they are used: no web process waits for them when it starts.
if TYPE_CHECKING:
    from specimens.dicom.query_retrieve import DimseArchive
    from specimens.dicom.web_archive import WebArchive

_ANSWER_SECONDS: Final = 15.0
_SHOWN_REFUSALS: Final = 10


@dataclass(slots=True)
class Retrieval:
    """What came of fetching studies.

    Attributes:
        added: instances that are in this specimen now and were not before.
        known: instances that were in it already.
        elsewhere: instances that came, and wait for a person or belong to another specimen.
        refused: a text for each instance that was refused, the first few.
        failed: how many the archive could not send or we refused.
        problem: why it ended before the end; empty where it did not.
    """

    added: int = 0
    known: int = 0
    elsewhere: int = 0
    refused: list[str] = field(default_factory=list)
    failed: int = 0
    problem: str = ""

    def refuse(self, text: str) -> None:
        """Count a refusal, and keep its text where it is new."""
        self.failed += 1
        if text not in self.refused and len(self.refused) < _SHOWN_REFUSALS:
            self.refused.append(text)


def find_in_archive(*, actor: User, specimen: Specimen, server: PacsServer) -> list[FoundStudy]:
    """Return the studies `server` has under the accession number of `specimen`.

    Raises ArchiveError, PermissionDenied, NotAllowedInState.
    """
    _check(actor, specimen, server)
    from specimens.dicom import query_retrieve, web_archive

    number = specimen.accession_number
    if server.way == PacsServer.Way.DICOMWEB:
        found = web_archive.find_studies(web_archive_of(server), number)
    else:
        found = query_retrieve.find_studies(dimse_archive_of(server), number)
    with transaction.atomic():
        audit.record(
            actor=actor,
            action="pacs.searched",
            subject=server,
            specimen=specimen,
            details={"archive": server.name, "studies": len(found)},
        )
    return found


def fetch_from_archive(
    *, actor: User, specimen: Specimen, server: PacsServer, studies: Sequence[FoundStudy]
) -> Retrieval:
    """Fetch `studies`, as found by `find_in_archive`, into `specimen`.

    What came before something failed stays, and fetching again brings the rest. Raises
    PermissionDenied, NotAllowedInState.
    """
    _check(actor, specimen, server)
    result = Retrieval()
    fetch = _by_web if server.way == PacsServer.Way.DICOMWEB else _by_move
    try:
        for study in studies:
            fetch(actor, specimen, server, study.uid, result)
    except ArchiveError as error:
        result.problem = str(error)
    with transaction.atomic():
        audit.record(
            actor=actor,
            action="pacs.fetched",
            subject=server,
            specimen=specimen,
            details={
                "archive": server.name,
                "studies": [study.uid for study in studies],
                "added": result.added,
                "known": result.known,
                "elsewhere": result.elsewhere,
                "failed": result.failed,
                "problem": result.problem,
            },
        )
    return result


def ask_archive(*, actor: User, server: PacsServer) -> list[tuple[str, str]]:
    """Ask by each way the server is configured for; return (way, problem), "" where it answered.

    Raises PermissionDenied.
    """
    require(actor, Action.ADMINISTER)
    visible_to(actor, PacsServer).get(pk=server.pk)
    from specimens.dicom import query_retrieve, web_archive

    tests: list[tuple[str, Callable[[], None]]] = []
    if server.host and server.ae_title:
        tests.append(("C-ECHO", lambda: query_retrieve.echo(dimse_archive_of(server))))
    if server.dicomweb_url:
        tests.append(("DICOMweb", lambda: web_archive.probe(web_archive_of(server))))
    results = []
    for way, test in tests:
        try:
            test()
        except ArchiveError as error:
            results.append((way, str(error)))
        else:
            results.append((way, ""))
    return results


def dimse_archive_of(server: PacsServer) -> "DimseArchive":
    """Return how to reach the server by DIMSE.

    Raises:
        ArchiveError: a certificate cannot be used.
    """
    from specimens.dicom.query_retrieve import DimseArchive

    try:
        tls = _tls() if server.encrypted else None
    except OSError as error:  # ssl.SSLError is one
        raise ArchiveError(f"Our own certificates (WBCLAB_DICOM_TLS_*) fail: {error}.") from error
    return DimseArchive(
        host=server.host,
        port=server.port,
        ae_title=server.ae_title,
        our_ae_title=settings.DICOM_AE_TITLE,
        tls=tls,
        seconds=min(_ANSWER_SECONDS, settings.DICOM_PACS_SECONDS),
        total_seconds=settings.DICOM_PACS_SECONDS,
    )


def web_archive_of(server: PacsServer) -> "WebArchive":
    """Return how to reach the server by DICOMweb.

    Raises:
        ArchiveError: the place of its secret is empty.
    """
    from specimens.dicom.web_archive import WebArchive

    authority = settings.DICOM_TLS_CA
    return WebArchive(
        url=server.dicomweb_url,
        user_name=server.user_name,
        password=_secret(server.secret),
        tls=client_tls(Path(authority)) if authority else None,
        seconds=min(_ANSWER_SECONDS, settings.DICOM_PACS_SECONDS),
        total_seconds=settings.DICOM_PACS_SECONDS,
    )


def _tls() -> ssl.SSLContext:
    authority, certificate = settings.DICOM_TLS_CA, settings.DICOM_TLS_CERTIFICATE
    return client_tls(
        Path(authority) if authority else None,
        Path(certificate) if certificate else None,
        Path(settings.DICOM_TLS_KEY) if certificate else None,
    )


def _secret(place: str) -> str:
    """Read a secret where the outbox has its own; nothing else can be sent out by a setting."""
    kind = "secret_env" if place.startswith(SECRET_PREFIX) else "secret_file"
    try:
        return read_secret({kind: place})
    except ValueError as error:
        raise ArchiveError(f"The secret of the archive: {error}") from error


def _check(actor: User, specimen: Specimen, server: PacsServer) -> None:
    require(actor, Action.ADD_IMAGES)
    specimen = visible_to(actor, Specimen).get(pk=specimen.pk)
    visible_to(actor, PacsServer).get(pk=server.pk, site=specimen.site_id)
    workflow.after(workflow.Act.ADD_IMAGES, specimen.state)


def _by_web(
    actor: User, specimen: Specimen, server: PacsServer, study: str, result: Retrieval
) -> None:
    from specimens.dicom import web_archive

    paths = web_archive.fetch_study(
        web_archive_of(server), study, settings.INCOMING_DIR, settings.DICOM_INSTANCE_MB * 1024**2
    )
    for path in paths:
        try:
            outcome = receive_instance(
                actor=actor,
                site=specimen.site,
                path=path,
                sender=server.name,
                way=Way.RETRIEVE,
                filename="",
            )
        except DicomRefusal as refusal:
            result.refuse(refusal.text)
            if refusal.may_pass:
                raise ArchiveError(f"It was broken off here: {refusal.text}") from refusal
            continue
        if outcome.specimen_id != specimen.pk:
            result.elsewhere += 1
        elif outcome.state == "duplicate":
            result.known += 1
        else:
            result.added += 1


def _by_move(
    actor: User, specimen: Specimen, server: PacsServer, study: str, result: Retrieval
) -> None:
    """Let the archive send to our listener, then look at what has arrived there."""
    from specimens.dicom import query_retrieve

    before = _arrived(specimen, study)
    try:
        moved = query_retrieve.move_study(dimse_archive_of(server), study)
        result.failed += moved.failed
        if moved.failed:
            result.refused.append(
                "Why instances were refused stands in the import log (Administration, DICOM)."
            )
    finally:
        now = _arrived(specimen, study)
        mine = {uid for uid, owner in now.items() if owner == specimen.pk}
        known = {uid for uid in mine if before.get(uid) == specimen.pk}
        result.added += len(mine - known)
        result.known += len(known)
        result.elsewhere += len(now) - len(mine)


def _arrived(specimen: Specimen, study: str) -> dict[str, int | None]:
    rows = DicomInstance.objects.filter(site=specimen.site_id, study_instance_uid=study)
    return dict(rows.values_list("sop_instance_uid", "specimen_id"))
