"""Asking an archive by DICOMweb: QIDO-RS by accession number, WADO-RS of a study, file by file."""

import os
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from specimens.dicom.archive import LARGEST_NUMBER_OF_STUDIES, ArchiveError, FoundStudy
from specimens.dicom.dicomweb import DICOM_JSON
from specimens.dicom.multipart import MediaType, MultipartError, MultipartReader, PartTooLarge
from specimens.dicom.multipart import boundary_of as _boundary_of

SPOOL_PREFIX: Final = ".wado-"
_LARGEST_ANSWER_BYTES: Final = 8 * 1024**2
_WANTED: Final = 'multipart/related; type="application/dicom"; transfer-syntax=*'


@dataclass(frozen=True, slots=True)
class WebArchive:
    """Where an archive's DICOMweb services are, who we are there, and how long it may take.

    Attributes:
        user_name, password: for Basic; without a name, the password is a bearer token.
        seconds: for a connection and between two blocks of an answer.
        total_seconds: for a whole study.
    """

    url: str
    user_name: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None
    seconds: float = 15.0
    total_seconds: float = 120.0


def probe(archive: WebArchive) -> None:
    """Ask for one study, to see that the archive answers us.

    Raises:
        ArchiveError: it does not.
    """
    _json(archive, "/studies", {"limit": "1"})


def find_studies(archive: WebArchive, accession_number: str) -> list[FoundStudy]:
    """Return the studies of an accession number (PS3.18 section 10.6).

    Raises:
        ArchiveError: the archive cannot be asked, or refuses.
    """
    parameters = {
        "AccessionNumber": accession_number,
        "limit": str(LARGEST_NUMBER_OF_STUDIES),
        "includefield": "00081030",
    }
    studies = [_study(row) for row in _json(archive, "/studies", parameters)]
    return [one for one in studies if one.accession_number == accession_number and one.uid]


def fetch_study(
    archive: WebArchive, study_uid: str, folder: Path, instance_bytes: int
) -> Iterator[Path]:
    """Yield the instances of a study as files in `folder`; each is deleted when the next is asked.

    Raises:
        ArchiveError: the archive refuses, the answer breaks off, an instance is too large, or the
            time is up; what was yielded until then is good.
    """
    deadline = time.monotonic() + archive.total_seconds
    with (
        _client(archive) as client,
        _answer(archive, client, f"/studies/{study_uid}", {}, _WANTED) as answer,
    ):
        content_type = answer.headers.get("content-type", "")
        if MediaType(content_type).name != "multipart/related":
            raise ArchiveError(f"The archive sent {content_type[:60]!r} instead of instances.")
        try:
            reader = MultipartReader(_Stream(answer, deadline), _boundary_of(content_type))
            for part in reader:
                with _spool(folder) as (path, out):
                    part.copy_to(out, instance_bytes)
                    out.flush()
                    os.fsync(out.fileno())
                    yield path
        except MultipartError as error:
            raise ArchiveError(f"The answer of the archive broke off: {error}") from error
        except PartTooLarge as error:
            limit = instance_bytes // 1024**2
            raise ArchiveError(f"An instance is above the limit of {limit} MB.") from error
        except httpx.HTTPError as error:
            raise ArchiveError(f"The connection to the archive broke: {_shown(error)}.") from error


class _Stream:
    """An answer as something to `read` from, within a total time."""

    def __init__(self, answer: httpx.Response, deadline: float) -> None:
        self._blocks = answer.iter_bytes(64 * 1024)
        self._deadline = deadline

    def read(self, size: int) -> bytes:
        """Return the next block, whatever its size; empty at the end."""
        if time.monotonic() > self._deadline:
            raise ArchiveError("The archive had not sent all in time; what came is kept.")
        return next(self._blocks, b"")


@contextmanager
def _client(archive: WebArchive) -> Iterator[httpx.Client]:
    headers = {}
    auth: tuple[str, str] | None = None
    if archive.user_name:
        auth = (archive.user_name, archive.password)
    elif archive.password:
        headers["Authorization"] = f"Bearer {archive.password}"
    with httpx.Client(
        auth=auth,
        headers=headers,
        timeout=archive.seconds,
        verify=archive.tls if archive.tls is not None else True,
        follow_redirects=False,  # the password goes to the address that was entered, nowhere else
    ) as client:
        yield client


@contextmanager
def _answer(
    archive: WebArchive, client: httpx.Client, path: str, parameters: dict[str, str], accept: str
) -> Iterator[httpx.Response]:
    address = archive.url.rstrip("/") + path
    request = client.build_request("GET", address, params=parameters, headers={"Accept": accept})
    try:
        response = client.send(request, stream=True)
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError) as error:
        raise ArchiveError(f"The archive cannot be reached: {_shown(error)}.") from error
    try:
        if response.status_code in (401, 403):
            raise ArchiveError(
                f"The archive does not let us in ({response.status_code}): check the user name "
                "and the secret."
            )
        if response.status_code not in (200, 204):
            raise ArchiveError(f"The archive answered {response.status_code} to {path[:80]}.")
        yield response
    finally:
        response.close()


def _json(archive: WebArchive, path: str, parameters: dict[str, str]) -> list[dict[str, Any]]:
    with (
        _client(archive) as client,
        _answer(archive, client, path, parameters, DICOM_JSON) as answer,
    ):
        if answer.status_code == 204:
            return []
        content = bytearray()
        try:
            for block in answer.iter_bytes():
                content += block
                if len(content) > _LARGEST_ANSWER_BYTES:
                    raise ArchiveError("The archive's answer is far too long.")
            body = httpx.Response(200, content=bytes(content)).json()
        except ValueError as error:
            raise ArchiveError(
                "The archive did not answer with DICOM JSON: is the DICOMweb address right?"
            ) from error
        except httpx.HTTPError as error:
            raise ArchiveError(f"The connection to the archive broke: {_shown(error)}.") from error
    if not isinstance(body, list) or not all(isinstance(row, dict) for row in body):
        raise ArchiveError("The archive did not answer with a list of studies.")
    return body


def _study(row: dict[str, Any]) -> FoundStudy:
    number = _value(row, "00201208")
    return FoundStudy(
        uid=_value(row, "0020000D")[:64],
        accession_number=_value(row, "00080050").strip(),
        date=_value(row, "00080020"),
        description=_value(row, "00081030")[:100],
        patient_name=_value(row, "00100010")[:100],
        patient_id=_value(row, "00100020")[:64],
        modalities=_value(row, "00080061"),
        instances=int(number) if number.isdecimal() else None,
    )


def _value(row: dict[str, Any], tag: str) -> str:
    element = row.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return ""
    texts = [one.get("Alphabetic", "") if isinstance(one, dict) else one for one in values]
    return ", ".join(str(one) for one in texts if one is not None)


@contextmanager
def _spool(folder: Path) -> Iterator[tuple[Path, Any]]:
    descriptor, name = tempfile.mkstemp(prefix=SPOOL_PREFIX, dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield Path(name), out
    finally:
        Path(name).unlink(missing_ok=True)


def _shown(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__
