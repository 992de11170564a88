"""Asking an archive by DIMSE: C-ECHO, C-FIND by accession number, C-MOVE to our listener.

Study Root model (PS3.4 annex C). Nothing here knows the database; times and numbers are bounded.
"""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from specimens.dicom.archive import (
    LARGEST_NUMBER_OF_STUDIES,
    ArchiveError,
    FoundStudy,
    Moved,
)
from specimens.dicom.rejection import Rejection

_PENDING: Final = (0xFF00, 0xFF01)
_OUT_OF_RESOURCES_FOR_MOVE: Final = 0xA702
_UNKNOWN_DESTINATION: Final = 0xA801
_REJECTIONS: Final = {
    (1, 3): "it does not know our AE title ({ours})",
    (1, 7): "it does not answer to the AE title {theirs}",
    (3, 1): "it is congested",
    (3, 2): "it takes no more associations now",
}


@dataclass(frozen=True, slots=True)
class DimseArchive:
    """Where an archive is and how long it may take.

    Attributes:
        seconds: for a connection, and for each answer.
        total_seconds: for a whole C-MOVE.
    """

    host: str
    port: int
    ae_title: str
    our_ae_title: str
    tls: ssl.SSLContext | None = None
    seconds: float = 15.0
    total_seconds: float = 120.0


def echo(archive: DimseArchive) -> None:
    """Do a C-ECHO (PS3.4 annex A).

    Raises:
        ArchiveError: no connection, no association, or another answer than success.
    """
    with _association(archive, Verification) as association:
        status = association.send_c_echo()
        if status.get("Status") != 0:
            raise ArchiveError(f"C-ECHO was answered with {_shown(status)}.")


def find_studies(archive: DimseArchive, accession_number: str) -> list[FoundStudy]:
    """Return the studies of an accession number, by C-FIND at the level STUDY.

    Raises:
        ArchiveError: the archive cannot be asked, or refuses.
    """
    query = Dataset()
    query.SpecificCharacterSet = "ISO_IR 192"
    query.QueryRetrieveLevel = "STUDY"
    query.AccessionNumber = accession_number
    for keyword in (
        "StudyInstanceUID", "StudyDate", "StudyDescription", "PatientName", "PatientID",
        "ModalitiesInStudy", "NumberOfStudyRelatedInstances",
    ):  # fmt: skip
        setattr(query, keyword, "" if keyword != "NumberOfStudyRelatedInstances" else None)
    found: list[FoundStudy] = []
    with _association(archive, StudyRootQueryRetrieveInformationModelFind) as association:
        model = StudyRootQueryRetrieveInformationModelFind
        for status, identifier in association.send_c_find(query, model):
            if status.get("Status") in _PENDING and identifier is not None:
                found += [_study(identifier)] if len(found) < LARGEST_NUMBER_OF_STUDIES else []
            elif status.get("Status") != 0:
                raise ArchiveError(f"The search was answered with {_shown(status)}.")
    # Archives may match case or wildcards loosely: only what was asked for counts.
    return [one for one in found if one.accession_number == accession_number and one.uid]


def move_study(archive: DimseArchive, study_uid: str) -> Moved:
    """Have a study sent to our listener, and wait until the archive is done.

    Raises:
        ArchiveError: it was not sent, or not in time; what came until then stays.
    """
    request = Dataset()
    request.QueryRetrieveLevel = "STUDY"
    request.StudyInstanceUID = study_uid
    deadline = time.monotonic() + archive.total_seconds
    moved = Moved()
    with _association(archive, StudyRootQueryRetrieveInformationModelMove) as association:
        answers = association.send_c_move(
            request, archive.our_ae_title, StudyRootQueryRetrieveInformationModelMove
        )
        for status, _ in answers:
            moved = _counted(status, moved)
            if status.get("Status") in _PENDING:
                if time.monotonic() > deadline:
                    association.abort()
                    raise ArchiveError(
                        f"The archive had not sent all within {archive.total_seconds:g} s: "
                        f"{moved.completed} came, {moved.remaining} were still to come."
                    )
                continue
            _check_moved(archive, status, moved)
    return moved


def _check_moved(archive: DimseArchive, status: Dataset, moved: Moved) -> None:
    code = status.get("Status")
    if code == _UNKNOWN_DESTINATION:
        raise ArchiveError(
            f"The archive does not know {archive.our_ae_title} as a destination: it has to be "
            "entered there, with the host and port of the DICOM listener."
        )
    if code == _OUT_OF_RESOURCES_FOR_MOVE and not moved.completed:
        raise ArchiveError(
            "The archive could not send to us: does the DICOM listener run, and can the archive "
            "reach it?"
        )
    # A warning (0xB000) has its failures counted; they are told apart by the caller.
    if code not in (0x0000, 0xB000):
        raise ArchiveError(f"The archive ended the transfer with {_shown(status)}.")


def _counted(status: Dataset, before: Moved) -> Moved:
    def number(keyword: str, otherwise: int) -> int:
        value = status.get(keyword)
        return int(value) if value is not None else otherwise

    return Moved(
        completed=number("NumberOfCompletedSuboperations", before.completed),
        failed=number("NumberOfFailedSuboperations", before.failed),
        remaining=number("NumberOfRemainingSuboperations", 0),
        warnings=number("NumberOfWarningSuboperations", before.warnings),
    )


def _study(identifier: Dataset) -> FoundStudy:
    modalities = identifier.get("ModalitiesInStudy") or []
    number = identifier.get("NumberOfStudyRelatedInstances")
    return FoundStudy(
        uid=str(identifier.get("StudyInstanceUID", "")),
        accession_number=str(identifier.get("AccessionNumber", "")).strip(),
        date=str(identifier.get("StudyDate", "") or ""),
        description=str(identifier.get("StudyDescription", "") or "")[:100],
        patient_name=str(identifier.get("PatientName", "") or "")[:100],
        patient_id=str(identifier.get("PatientID", "") or "")[:64],
        modalities=modalities if isinstance(modalities, str) else ", ".join(map(str, modalities)),
        instances=int(number) if number not in (None, "") else None,
    )


@contextmanager
def _association(archive: DimseArchive, sop_class: Any) -> Iterator[Association]:
    _config.LOG_HANDLER_LEVEL = "none"
    _reach(archive)
    entity = AE(ae_title=archive.our_ae_title)
    entity.connection_timeout = entity.acse_timeout = archive.seconds
    entity.dimse_timeout = entity.network_timeout = archive.seconds
    entity.add_requested_context(sop_class)
    tls = (archive.tls, archive.host) if archive.tls is not None else None
    rejection = Rejection()
    association = entity.associate(
        archive.host,
        archive.port,
        ae_title=archive.ae_title,
        tls_args=tls,
        evt_handlers=[rejection.handler],
    )
    if not association.is_established:
        raise ArchiveError(_why_not(archive, association, rejection.answer))
    try:
        if not association.accepted_contexts:
            raise ArchiveError("The archive does not offer this service to us.")
        yield association
    finally:
        if association.is_established:
            association.release()


def _reach(archive: DimseArchive) -> None:
    """See whether somebody listens there: pynetdicom does not say why it could not connect."""
    where = f"{archive.host}:{archive.port}"
    try:
        socket.create_connection((archive.host, archive.port), archive.seconds).close()
    except socket.gaierror as error:
        raise ArchiveError(f"The name {archive.host} is not known here.") from error
    except TimeoutError as error:
        raise ArchiveError(f"{where} does not answer within {archive.seconds:g} s.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ArchiveError(f"Nobody listens at {where} ({reason}): is it running?") from error


def _why_not(archive: DimseArchive, association: Association, answer: Any) -> str:
    where = f"{archive.ae_title} at {archive.host}:{archive.port}"
    if answer is not None:
        reason = _REJECTIONS.get(
            (answer.result_source or 0, answer.diagnostic or 0), "it gave no reason"
        )
        text = reason.format(ours=archive.our_ae_title, theirs=archive.ae_title)
        return f"{where} refuses the association: {text}."
    if association.is_aborted and association.acceptor.primitive is not None:
        return f"{where} broke the association off."
    return f"{where} does not speak DICOM with us: is it the right port, and does it want TLS?"


def _shown(status: Dataset) -> str:
    code = status.get("Status")
    if code is None:
        return "nothing: the connection broke or the time was up"
    comment = str(status.get("ErrorComment", "") or "")[:100]
    return f"status {code:#06x}" + (f" ({comment})" if comment else "")
