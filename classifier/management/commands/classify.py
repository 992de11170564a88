"""`manage.py classify PATH...`: classify image files and folders without a database."""

import argparse
import csv
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from classifier.artifact import ModelArtifact, ModelArtifactError
from classifier.classes import PREDICTED_CLASSES
from classifier.decision import CellPrediction
from classifier.engines import ENGINE_NAMES, Engine, EngineUnavailableError, create_engine
from classifier.imaging.decode import PreparedImage
from classifier.imaging.pool import DecoderPool, DecoderPoolError
from classifier.imaging.refusal import ImageRefused

# Taken from folders; a file named on the command line is read whatever it is called.
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".dcm"}
COLUMNS = (
    "path",
    "predicted_class",
    "decision",
    "confidence",
    "ood_score",
    *(f"p_{cell.key}" for cell in PREDICTED_CLASSES),
    "error",
)
_BATCH = 64
_WIDEST_PATH = 60

Row = dict[str, str | float]


class Command(BaseCommand):
    help = "Classify cell images: files, and folders with everything below them."
    # Neither the database nor the web server is needed.
    requires_system_checks = []
    requires_migrations_checks = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="PATH", type=Path)
        parser.add_argument("--format", choices=sorted(_WRITERS), default="table")
        parser.add_argument("--engine", choices=ENGINE_NAMES, default=settings.ENGINE)

    def handle(self, *, paths: list[Path], format: str, engine: str, **options: Any) -> None:
        candidates = list(_candidates(paths))
        loaded = _load_engine(engine)
        try:
            failed = self._write_rows(candidates, loaded, _WRITERS[format])
        except DecoderPoolError as error:
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            # The reader has seen enough (`| head`); Python would complain again while it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if failed:
            raise CommandError(f"{failed} of {len(candidates)} could not be classified.")

    def _write_rows(
        self, candidates: Sequence["_Candidate"], engine: Engine, format: type["_Writer"]
    ) -> int:
        """Classify and write everything; returns the number of errors."""
        writer = format(self.stdout, candidates)
        failed = 0
        with (
            DecoderPool(settings.DECODER_PROCESSES) as pool,
            tqdm(
                total=len(candidates),
                unit=" images",
                file=sys.stderr,
                disable=not sys.stderr.isatty(),
            ) as progress,
        ):
            for rows in _classify(candidates, pool, engine):
                with progress.external_write_mode(file=sys.stdout):
                    for row in rows:
                        failed += bool(row["error"])
                        writer.write(row)
                progress.update(len(rows))
        writer.close()
        self.stdout.flush()
        return failed


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file to classify, or the reason why there is none."""

    path: Path
    error: str = ""


def _candidates(paths: Iterable[Path]) -> Iterator[_Candidate]:
    for path in paths:
        try:
            path.stat()
        except OSError as error:
            yield _Candidate(path, f"It cannot be read: {error.strerror}.")
            continue
        if path.is_dir():
            yield from _below(path)
        else:
            yield _Candidate(path)


def _below(folder: Path) -> Iterator[_Candidate]:
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.is_dir()
    )
    if not found:
        yield _Candidate(folder, "The folder holds no image file.")
    yield from map(_Candidate, found)


def _load_engine(name: str) -> Engine:
    try:
        artifact = ModelArtifact.load(settings.MODEL_DIR)
        engine = create_engine(name, settings.ENGINE_THREADS)
        engine.load(artifact)
    except (ModelArtifactError, EngineUnavailableError) as error:
        raise CommandError(str(error)) from error
    return engine


def _classify(
    candidates: Sequence[_Candidate], pool: DecoderPool, engine: Engine
) -> Iterator[list[Row]]:
    """Batches of rows in the order of the candidates; one batch of pixels in memory at a time."""
    for start in range(0, len(candidates), _BATCH):
        batch = candidates[start : start + _BATCH]
        answers = iter(pool.prepare([(c.path, None) for c in batch if not c.error]))
        images = [ImageRefused("damaged", c.error) if c.error else next(answers) for c in batch]
        pixels = [image.pixels for image in images if isinstance(image, PreparedImage)]
        predictions = iter(engine.classify(np.stack(pixels)) if pixels else ())
        yield [
            _result_row(candidate.path, next(predictions))
            if isinstance(image, PreparedImage)
            else _error_row(candidate.path, candidate.error or image.message)
            for candidate, image in zip(batch, images, strict=True)
        ]


def _result_row(path: Path, prediction: CellPrediction) -> Row:
    values: list[str | float] = [
        _printable(path),
        prediction.predicted_class,
        prediction.decision,
        round(prediction.confidence, 6),
        round(prediction.ood_score, 6),
        *(round(probability, 6) for probability in prediction.probabilities),
        "",
    ]
    return dict(zip(COLUMNS, values, strict=True))


def _error_row(path: Path, error: str) -> Row:
    row: Row = dict.fromkeys(COLUMNS, "")
    return row | {"path": _printable(path), "error": error}


def _printable(path: Path) -> str:
    """The path in valid UTF-8: Linux allows any bytes in a file name."""
    return os.fsencode(path).decode("utf-8", "replace")


class _Writer(Protocol):
    """Writes rows as they come, so that memory does not grow with their number."""

    def __init__(self, out: Any, candidates: Sequence[_Candidate]) -> None: ...

    def write(self, row: Row) -> None: ...

    def close(self) -> None: ...


class _CsvWriter:
    def __init__(self, out: Any, candidates: Sequence[_Candidate]) -> None:
        self._rows = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        self._rows.writeheader()

    def write(self, row: Row) -> None:
        self._rows.writerow(row)

    def close(self) -> None:
        pass


class _JsonWriter:
    def __init__(self, out: Any, candidates: Sequence[_Candidate]) -> None:
        self._out = out
        self._separator = "["

    def write(self, row: Row) -> None:
        # A number that is missing is null; only the text of the error may be empty.
        values = {key: None if value == "" else value for key, value in row.items()}
        self._out.write(f"{self._separator}\n  {json.dumps(values, ensure_ascii=False)}", ending="")
        self._separator = ","

    def close(self) -> None:
        self._out.write("[]" if self._separator == "[" else "\n]")


class _TableWriter:
    def __init__(self, out: Any, candidates: Sequence[_Candidate]) -> None:
        self._out = out
        self._width = min(_WIDEST_PATH, max((len(str(c.path)) for c in candidates), default=4))
        self._counts: Counter[str] = Counter()
        self._print("path", "decision", "most likely", "conf.", "ood")

    def write(self, row: Row) -> None:
        if row["error"]:
            self._counts["error"] += 1
            self._print(str(row["path"]), "error", str(row["error"]))
            return
        self._counts[str(row["decision"])] += 1
        numbers = (f"{row['confidence']:.3f}", f"{row['ood_score']:.2f}")
        self._print(str(row["path"]), str(row["decision"]), str(row["predicted_class"]), *numbers)

    def close(self) -> None:
        total = sum(self._counts.values())
        shares = ", ".join(f"{count} {name}" for name, count in sorted(self._counts.items()))
        self._out.write(f"{total} in all: {shares}")

    def _print(self, path: str, *cells: str) -> None:
        # The end of a long path says more than its beginning.
        shown = path if len(path) <= self._width else "…" + path[1 - self._width :]
        self._out.write(f"{shown:<{self._width}}  {'  '.join(f'{cell:<12}' for cell in cells)}")


_WRITERS: dict[str, type[_Writer]] = {
    "csv": _CsvWriter,
    "json": _JsonWriter,
    "table": _TableWriter,
}
