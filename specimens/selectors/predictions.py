"""What came in through the predict calls, found again by the identifier the caller was given."""

from typing import Final

from django.contrib.auth.models import AnonymousUser
from django.core.signing import BadSignature, Signer

from specimens.models import CellImage, Job, Prediction, User
from specimens.permissions import visible_to

_SALT: Final = "specimens.predictions"
_LONGEST_NUMBER: Final = 18  # digits, within a 64-bit column


def _signer() -> Signer:
    return Signer(salt=_SALT, sep=".")


def identifier_of(image: CellImage) -> str:
    """Return the caller's name for the image.

    What came without an account belongs to nobody: its identifier cannot be guessed.
    """
    return str(image.pk) if image.received_from_id else _signer().sign(str(image.pk))


def find_image(user: User | AnonymousUser, identifier: str) -> CellImage | None:
    """Return the image of a predict call, if `user` may know of it."""
    images = CellImage.objects.filter(specimen=None)
    if "." in identifier:
        try:
            number = _signer().unsign(identifier)
        except BadSignature:
            return None
        return images.filter(pk=int(number), received_from=None).first()
    if not (identifier.isascii() and identifier.isdecimal() and len(identifier) <= _LONGEST_NUMBER):
        return None
    return visible_to(user, CellImage).filter(specimen=None, pk=int(identifier)).first()


def outcome_of(image: CellImage) -> Prediction | Job | None:
    """Return the newest prediction; else the job, if it failed; else None: not finished."""
    predictions = image.predictions.select_related("model_version").order_by("-id")
    if prediction := predictions.first():
        return prediction
    job = image.jobs.order_by("-id").first()
    return job if job is not None and job.state == Job.State.FAILED else None
