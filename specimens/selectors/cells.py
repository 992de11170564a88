"""The cells of a specimen as a gallery shows them, and one cell with all that is known of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from classifier.classes import CLASS_BY_KEY, CLASS_BY_NAME, REPORTING_ORDER, UNIDENTIFIED, CellClass
from specimens.models import CellImage, Job, Prediction, Specimen, User
from specimens.permissions import visible_to

# What a browser can draw; the rest is shown through the picture the worker makes of it.
BROWSER_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/bmp"})


class CellState(StrEnum):
    WAITING = "waiting"
    CLASSIFIED = "classified"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell image with its newest prediction, or with what became of its newest job."""

    pk: int
    filename: str
    state: CellState
    has_picture: bool
    cell_class: CellClass | None = None
    proposed: CellClass | None = None
    confidence: float = 0.0
    error: str = ""
    error_code: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Cells under one heading of the gallery. `key` is a class key, "failed" or "waiting"."""

    key: str
    name: str
    code: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Every cell of a specimen, once, in groups.

    `revision` changes whenever anything shown here changes.
    """

    groups: tuple[Group, ...]
    total: int
    classified: int
    waiting: int
    failed: int
    verified: int
    revision: str

    def counts(self) -> dict[str, int]:
        """Cells by class key, the abstentions under "unidentified"."""
        return {
            group.key: len(group.cells)
            for group in self.groups
            if group.key not in (CellState.FAILED, CellState.WAITING)
        }

    def order(self) -> list[int]:
        """Image ids in the order they are shown in."""
        return [cell.pk for group in self.groups for cell in group.cells]


def gallery_of(user: User, specimen: Specimen) -> Gallery:
    """The gallery of `specimen` in three queries, however many cells it has."""
    images = list(
        visible_to(user, CellImage)
        .filter(specimen=specimen)
        .only("pk", "filename", "media_type", "label", "revision")
        .order_by("pk")
    )
    predictions = {
        row["cell_image_id"]: row
        for row in Prediction.objects.filter(cell_image__specimen=specimen)
        .order_by("pk")
        .values("pk", "cell_image_id", "decision", "predicted_class", "confidence")
    }
    jobs = {
        row["cell_image_id"]: row
        for row in Job.objects.filter(cell_image__specimen=specimen)
        .order_by("pk")
        .values("pk", "cell_image_id", "state", "error", "error_code")
    }
    cells = [_cell(image, predictions.get(image.pk), jobs.get(image.pk)) for image in images]
    states = Counter(cell.state for cell in cells)
    newest = max((row["pk"] for row in predictions.values()), default=0)
    last_job = max((row["pk"] for row in jobs.values()), default=0)
    return Gallery(
        groups=tuple(_groups(cells)),
        total=len(cells),
        classified=states[CellState.CLASSIFIED],
        waiting=states[CellState.WAITING],
        failed=states[CellState.FAILED],
        verified=sum(bool(image.label) for image in images),
        revision="-".join(
            map(
                str,
                (
                    len(cells),
                    len(predictions),
                    newest,
                    last_job,
                    states[CellState.FAILED],
                    sum(image.revision for image in images),
                ),
            )
        ),
    )


def _cell(
    image: CellImage,
    prediction: Mapping[str, object] | None,
    job: Mapping[str, object] | None,
) -> Cell:
    has_picture = image.media_type in BROWSER_TYPES
    if prediction is not None:
        return Cell(
            image.pk,
            image.filename,
            CellState.CLASSIFIED,
            has_picture=True,  # the worker wrote one before it classified
            # A person's word goes before the machine's.
            cell_class=CLASS_BY_KEY.get(image.label) or CLASS_BY_NAME[str(prediction["decision"])],
            proposed=CLASS_BY_NAME[str(prediction["predicted_class"])],
            confidence=float(str(prediction["confidence"])),
        )
    if job is not None and job["state"] == Job.State.FAILED:
        return Cell(
            image.pk,
            image.filename,
            CellState.FAILED,
            has_picture=False,
            error=str(job["error"]),
            error_code=str(job["error_code"]),
        )
    return Cell(image.pk, image.filename, CellState.WAITING, has_picture)


def _groups(cells: Sequence[Cell]) -> list[Group]:
    """Abstentions first, then the classes in reporting order, failures and what waits last."""
    classified = [cell for cell in cells if cell.cell_class is not None]
    present = {cell.cell_class for cell in classified}
    classes = [UNIDENTIFIED, *REPORTING_ORDER]
    classes += sorted(
        (c for c in present if c is not None and c not in classes), key=lambda c: c.name
    )
    groups = []
    for cell_class in classes:
        members = [cell for cell in classified if cell.cell_class == cell_class]
        members.sort(key=lambda cell: (cell.confidence, cell.pk))
        groups.append(Group(cell_class.key, cell_class.name, cell_class.code, tuple(members)))
    for state, name in ((CellState.FAILED, "Failed"), (CellState.WAITING, "Waiting")):
        members = [cell for cell in cells if cell.state == state]
        groups.append(Group(state.value, name, "", tuple(members)))
    return [group for group in groups if group.cells]


def newest_prediction(image: CellImage) -> Prediction | None:
    """The prediction that counts: the last one written, with its model version."""
    return image.predictions.select_related("model_version").order_by("-pk").first()


def newest_job(image: CellImage) -> Job | None:
    return image.jobs.order_by("-pk").first()


def neighbours(gallery: Gallery, pk: int) -> tuple[int | None, int | None, int]:
    """The ids before and after a cell in the gallery, and its position from 1 (0: not there)."""
    order = gallery.order()
    if pk not in order:
        return None, None, 0
    at = order.index(pk)
    before = order[at - 1] if at > 0 else None
    after = order[at + 1] if at + 1 < len(order) else None
    return before, after, at + 1
