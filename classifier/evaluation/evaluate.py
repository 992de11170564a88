"""The evaluation from end to end: from a folder to the report on disk."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from classifier.artifact import ModelArtifact
from classifier.engines import Engine
from classifier.evaluation.labelled import LabelledFile, read_labelled, read_others
from classifier.evaluation.page import render_page
from classifier.evaluation.report import build_report
from classifier.evaluation.run import Evaluated, classify_files
from classifier.imaging.pool import DecoderPool

PAGE_FILE = "evaluation.html"
FIGURES_FILE = "evaluation.json"

Progress = Callable[[int], object]


class Evaluator:
    """A loaded model and the decoders, ready for any number of sets.

    >>> with Evaluator(artifact, engine, processes=2) as evaluator:  # doctest: +SKIP
    ...     evaluated = evaluator.classify(read_labelled(folder))
    """

    def __init__(self, artifact: ModelArtifact, engine: Engine, processes: int | None) -> None:
        self.artifact = artifact
        self.engine = engine
        self._pool = DecoderPool(processes)
        self._scratch = tempfile.TemporaryDirectory(prefix="wbclab-evaluation-")
        self._sets = 0

    def __enter__(self) -> Evaluator:
        self._pool.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.close()
        # The small pictures of the images: nothing of them is left behind.
        self._scratch.cleanup()

    def classify(
        self, files: Sequence[LabelledFile], progress: Progress = lambda count: None
    ) -> Evaluated:
        """Classify files; their small pictures last as long as this object."""
        self._sets += 1
        folder = Path(self._scratch.name) / str(self._sets)
        folder.mkdir()
        return classify_files(files, self.engine, self._pool, folder, progress)


def evaluate_images(
    evaluator: Evaluator,
    source: Path,
    others: Sequence[Path],
    output: Path,
    progress: Callable[[str, int], Progress] = lambda name, total: lambda count: None,
) -> dict[str, Any]:
    """Evaluate a laboratory's own images; write `evaluation.html` and `evaluation.json`.

    Args:
        evaluator: with the model.
        source: a folder with one sub-folder per class, or a CSV file.
        others: folders with cells of none of the model's classes.
        output: folder for the two files.
        progress: given a name and a number of files, returns what is called after each batch.

    Raises:
        LabelError: the labels cannot be used.
        DecoderPoolError: no decoder can be started.
    """
    files = read_labelled(source)
    foreign_files = [file for folder in others for file in read_others(folder)]
    evaluated = evaluator.classify(files, progress(source.name, len(files)))
    foreign = None
    if foreign_files:
        foreign = evaluator.classify(foreign_files, progress("others", len(foreign_files)))
    report = build_report(
        evaluated,
        foreign,
        evaluator.artifact,
        evaluator.engine.name,
        str(source),
        read_reference(evaluator.artifact),
    )
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / FIGURES_FILE, report)
    page = render_page(report, evaluated, foreign)
    (output / PAGE_FILE).write_text(page, encoding="utf-8")
    return report


def read_reference(artifact: ModelArtifact) -> Mapping[str, Any] | None:
    """What the model's training images look like, as measured for its card; None if unknown."""
    path = artifact.folder / FIGURES_FILE
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    # Another version's reference would compare with the wrong images.
    if not isinstance(figures, dict) or figures.get("model", {}).get("digest") != artifact.digest:
        return None
    reference: Mapping[str, Any] | None = figures.get("reference")
    return reference


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a value as JSON that a person can read too."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
