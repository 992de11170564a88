"""The images of a predict call, decoded and computed while they are put on record.

A file that has its name can be read; until its rows are on record, disk and database take as long
as decoding and half of the engine's work. So a worker with nothing to do begins with images it has
notice of, and claims them when it hears that they are on record. What it found is of use to that
claim only: images that do not get on record, or come in a claim with others, are begun in vain.
"""

from collections.abc import Sequence

from classifier.engines.base import Engine
from classifier.imaging.decode import PreparedImage
from classifier.imaging.pool import Answer, DecoderPool
from specimens.models import CellImage
from specimens.services.batches import Batch, paths_of


class HeadStart:
    """Images that are with the engine and belong to no claim yet.

    Args:
        names: of their files in the image store.
        decoders: decode them now, and write their thumbnails.
        engine: begins with each as it comes.
    """

    def __init__(self, names: Sequence[str], decoders: DecoderPool, engine: Engine) -> None:
        self.computation = engine.begin(len(names))
        # In the order in which the engine got them.
        self._answers: dict[str, Answer] = {}
        self._paths = [paths_of(CellImage(file=name)) for name in names]
        for place, answer in decoders.answers(self._paths):
            self._answers[names[place]] = answer
            if isinstance(answer, PreparedImage):
                self.computation.add(answer.pixels)

    def hand_over(self, batch: Batch) -> bool:
        """Give a claim of just these images what became of them; whether it is one."""
        jobs = batch.claim.jobs
        places = {str(job.cell_image.file.name): place for place, job in enumerate(jobs)}
        if places.keys() != self._answers.keys() or any(job.cell_image.frame for job in jobs):
            return False
        for name, answer in self._answers.items():
            batch.take(places[name], answer)
        return True

    def discard(self) -> None:
        """Remove thumbnails of images that did not get on record: their files are gone again."""
        for image, thumbnail, _ in self._paths:
            if not image.exists():
                thumbnail.unlink(missing_ok=True)
