"""The predict calls, kept compatible with existing DM-FNet clients."""

import time
from collections.abc import Sequence

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.files.uploadedfile import UploadedFile
from rest_framework import status
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from specimens.api import schema
from specimens.api.answers import Outcome, batch_answer, single_answer
from specimens.api.base import ApiView, MayPredict
from specimens.api.errors import ApiError
from specimens.api.uploads import one_file, some_files
from specimens.models import CellImage, Site, User
from specimens.permissions import own_site
from specimens.selectors.predictions import find_image, outcome_of
from specimens.services.imaging import add_cell_images, public_site
from specimens.services.results import await_results, listen


class Stopwatch:
    """Milliseconds of one call, from when the server had its body."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.timing: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Note the time since the lap before."""
        now = time.perf_counter()
        self.timing |= {name: 1000 * (now - self._last), "total_ms": 1000 * (now - self._start)}
        self._last = now


class PredictView(ApiView):
    """One image, one class."""

    permission_classes = [MayPredict]
    parser_classes = [MultiPartParser]

    @schema.PREDICT
    def post(self, request: Request) -> Response:
        """Store the image, wait for its class, answer."""
        stopwatch = Stopwatch()
        outcomes = classify(request.user, [one_file(request, "file")], stopwatch)
        return single_answer(request, outcomes[0], stopwatch.timing)


class PredictBatchView(ApiView):
    """Some images, one entry each; a bad one does not spoil the others."""

    permission_classes = [MayPredict]
    parser_classes = [MultiPartParser]

    @schema.PREDICT_BATCH
    def post(self, request: Request) -> Response:
        """Store the good images, wait for their classes, answer in the order sent."""
        stopwatch = Stopwatch()
        outcomes = classify(request.user, some_files(request, "images"), stopwatch)
        return batch_answer(request, outcomes, stopwatch.timing)


class PredictionView(ApiView):
    """The status address of an image that came in through a predict call."""

    permission_classes = [MayPredict]

    @schema.PREDICTION
    def get(self, request: Request, identifier: str) -> Response:
        """Answer what the predict call would have answered, had it waited until now."""
        image = find_image(request.user, identifier)
        if image is None:
            text = "There is no such image, or it is not one of your sites."
            raise ApiError(status.HTTP_404_NOT_FOUND, "not_found", text)
        return single_answer(request, Outcome(image.filename, image, outcome_of(image)), {})


def classify(
    user: User | AnonymousUser,
    uploads: "Sequence[UploadedFile[bytes]]",
    stopwatch: Stopwatch,
    seconds: float | None = None,
) -> list[Outcome]:
    """Hand the files to the queue and wait for what becomes of them, in the order given.

    It waits `seconds`, as long as a predict call by default.
    """
    actor, site = _origin(user)
    listen()
    received = add_cell_images(
        actor=actor,
        site=site,
        specimen=None,
        uploads=uploads,
        source=CellImage.Source.API,
    )
    stopwatch.lap("receive_ms")
    images = [answer.cell_image for answer in received if answer.cell_image is not None]
    wait = settings.PREDICT_WAIT_SECONDS if seconds is None else seconds
    results = await_results(images, seconds=wait) if images else {}
    stopwatch.lap("wait_ms")
    return [
        Outcome(
            filename=answer.filename,
            image=answer.cell_image,
            result=results.get(answer.cell_image.pk) if answer.cell_image else None,
            code=answer.code,
            message=answer.message,
        )
        for answer in received
    ]


def _origin(user: User | AnonymousUser) -> tuple[User | None, Site]:
    """Return who sends and the site the images belong to: the sender's first."""
    if not isinstance(user, User):
        return None, public_site()
    site = own_site(user)
    if site is None:
        text = "Your account belongs to no site, so its images would belong to nobody. Ask an "
        text += "administrator to add it to one."
        raise ApiError(status.HTTP_403_FORBIDDEN, "no_site", text)
    return user, site
