"""STOW-RS (PS3.18 section 10.5): instances come as parts of a body, each goes to disk, then in."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final, cast

from django.conf import settings
from django.http import HttpResponse, UnreadablePostError
from rest_framework import status
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from specimens.api.dicomweb.base import account, json_answer, wado_root
from specimens.api.errors import ApiError
from specimens.dicom.multipart import (
    MediaType,
    MultipartError,
    MultipartReader,
    Part,
    PartTooLarge,
    boundary_of,
)
from specimens.dicom.refusals import (
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH_SOP_CLASS,
    OUT_OF_RESOURCES,
    DicomRefusal,
)
from specimens.dicom.stow import Identity, StoreAnswer, identity_of
from specimens.models import Site, User
from specimens.permissions import Action, can, visible_to
from specimens.services.dicom_import import receive_instance
from specimens.services.errors import QueueFull, StorageUnavailable
from specimens.services.queue_entry import RETRY_AFTER_SECONDS

SPOOL_PREFIX: Final = ".stow-"
LARGEST_NUMBER_OF_PARTS: Final = 10_000
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class MayStore(BasePermission):
    """Roles that may add images."""

    message = "Your account may not store images."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Ask the one place that knows."""
        return can(request.user, Action.ADD_IMAGES)


class StoreRequest:
    """One store request on its way: who sends, to which site and study, and the answer so far."""

    def __init__(self, user: User, site: Site, study: str, answer: StoreAnswer) -> None:
        self.user = user
        self.site = site
        self.study = study
        self.answer = answer
        self.may_pass_later = True  # as long as every failure is the platform's

    def take(self, part: Part) -> None:
        """Put one part on disk and import it; what comes of it goes into the answer."""
        if part.content_type.name != "application/dicom":
            text = f"A part is {part.content_type.name[:40] or 'untyped'}, not application/dicom."
            self._fail(Identity(), CANNOT_UNDERSTAND, text)
            return
        with _spool() as (path, out):
            try:
                part.copy_to(out, settings.DICOM_INSTANCE_MB * 1024**2)
                out.flush()
                os.fsync(out.fileno())
            except PartTooLarge:
                out.flush()
                text = f"Above the limit of {settings.DICOM_INSTANCE_MB} MB an instance."
                self._fail(identity_of(path), OUT_OF_RESOURCES, text, for_good=True)
                return
            self._receive(path)

    def _receive(self, path: Path) -> None:
        identity = identity_of(path)
        if self.study and identity.study_instance_uid not in ("", self.study):
            text = "The instance belongs to another study than the address names."
            self._fail(identity, DOES_NOT_MATCH_SOP_CLASS, text)
            return
        try:
            outcome = receive_instance(
                actor=self.user,
                site=self.site,
                path=path,
                sender=self.user.get_username(),
                way="stow",
            )
        except DicomRefusal as refusal:
            self._fail(identity, refusal.dicom_status, refusal.text)
        except (QueueFull, StorageUnavailable) as refused:
            self._fail(identity, OUT_OF_RESOURCES, str(refused))
        else:
            identity = identity._replace(
                sop_class_uid=outcome.sop_class_uid, sop_instance_uid=outcome.sop_instance_uid
            )
            self.answer.add_stored(identity, can_be_fetched=outcome.state != "quarantined")

    def _fail(self, identity: Identity, reason: int, text: str, *, for_good: bool = False) -> None:
        self.may_pass_later &= reason == OUT_OF_RESOURCES and not for_good
        self.answer.add_failed(identity, reason, text)


def store(request: Request, study: str = "") -> HttpResponse:
    """Take the parts in the order sent; each is on record, or refused, before the next."""
    boundary = _boundary(request)
    user = account(request)
    storing = StoreRequest(user, _site_of(user), study, StoreAnswer(wado_root(request)))
    body = cast("IO[bytes]", request._request)  # DRF's own stream needs a Content-Length
    count = 0
    try:
        for count, part in enumerate(MultipartReader(body, boundary), start=1):
            if count > LARGEST_NUMBER_OF_PARTS:
                raise MultipartError(f"More than {LARGEST_NUMBER_OF_PARTS} parts.")
            storing.take(part)
    except (MultipartError, UnreadablePostError) as error:
        return _malformed(error, storing.answer)
    if count == 0:
        raise ApiError(status.HTTP_400_BAD_REQUEST, "no_file", "The body holds no part.")
    return _answered(storing)


def _answered(storing: StoreRequest) -> HttpResponse:
    answer = storing.answer
    if answer.status == status.HTTP_409_CONFLICT and storing.may_pass_later:
        response = json_answer(answer.body(), status.HTTP_503_SERVICE_UNAVAILABLE)
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
        return response
    return json_answer(answer.body(), answer.status)


def _malformed(error: Exception, answer: StoreAnswer) -> HttpResponse:
    """Return 400; what was stored before the body broke is named, and stays."""
    text = str(error) or "The body could not be read."
    if not answer.stored:
        raise ApiError(status.HTTP_400_BAD_REQUEST, "malformed_request", f"{text} Nothing stored.")
    response = json_answer(answer.body(), status.HTTP_400_BAD_REQUEST)
    response.headers["Warning"] = f'299 wbclab "{text}"'
    return response


def _boundary(request: Request) -> bytes:
    """Return the boundary of the body; 415 for another kind of body than we take."""
    content_type = request.headers.get("Content-Type", "")
    media_type = MediaType(content_type)
    kind = media_type.parameter("type").lower()
    if media_type.name != "multipart/related" or kind not in ("", "application/dicom"):
        text = 'Instances are taken as multipart/related; type="application/dicom".'
        raise ApiError(status.HTTP_415_UNSUPPORTED_MEDIA_TYPE, "unsupported_content_type", text)
    try:
        return boundary_of(content_type)
    except MultipartError as error:
        raise ApiError(status.HTTP_400_BAD_REQUEST, "malformed_request", str(error)) from error


def _site_of(user: User) -> Site:
    site = visible_to(user, Site).first()
    if site is None:
        text = "The account belongs to no site; an administrator has to add it to one."
        raise ApiError(status.HTTP_403_FORBIDDEN, "no_site", text)
    return site


@contextmanager
def _spool() -> Iterator[tuple[Path, IO[bytes]]]:
    """A file of its own for one instance, deleted behind."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=SPOOL_PREFIX, dir=settings.INCOMING_DIR)
        try:
            with os.fdopen(descriptor, "wb") as out:
                yield Path(name), out
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise StorageUnavailable("The disk is full. Send it again later.") from error
