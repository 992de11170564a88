"""Labelled images: read from folders or a table, held in memory, drawn in balanced batches."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from classifier.classes import PREDICTED_CLASSES
from classifier.preprocessing import prepare_at

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif"})
CLASS_KEYS = tuple(cell.key for cell in PREDICTED_CLASSES)
NO_CLASS = -1
# Relative to the folder that holds manage.py.
DEFAULT_DATA_FOLDER = "../shared/data"


class DataError(Exception):
    """The images cannot be used; the message says which and why."""


@dataclass(frozen=True)
class LabelledImages:
    """Prepared images in memory.

    Attributes:
        images: Array (n, size, size, 3) of uint8.
        labels: Array (n,) of int; the class index, or -1 for cells of none of the five classes.
        paths: Where each image came from.
        groups: Name of the folder (or the label in the table) of each image.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def data_folder() -> Path:
    """The folder of the labelled images: WBCLAB_DATA, or beside the project."""
    configured = os.environ.get("WBCLAB_DATA")
    if configured:
        return Path(configured)
    return (Path(__file__).resolve().parents[2] / DEFAULT_DATA_FOLDER).resolve()


def load_images(
    source: Path, size: int, *, margin: float = 1.0, only_classes: bool = True
) -> LabelledImages:
    """Read labelled images and prepare them.

    Args:
        source: A folder with one sub-folder per class, or a CSV file with the columns ``path``
            (relative to the file) and ``label``. Class names are compared in lower case.
        size: Side of the prepared images in pixels.
        margin: How much to show around the cell; 1 is what serving shows.
        only_classes: Whether a label that is none of the five classes is an error; otherwise it
            becomes -1.

    Raises:
        DataError: If the source is missing, a class is unknown or empty, or images are unreadable.
    """
    entries = list(_from_table(source) if source.suffix.lower() == ".csv" else _from_tree(source))
    if not entries:
        raise DataError(f"no images in {source}")
    labels = [_class_index(group, source, only_classes) for _, group in entries]
    images, failures = _read_all([path for path, _ in entries], size, margin)
    if failures:
        listed = "\n  ".join(failures[:10])
        raise DataError(f"{len(failures)} images of {source} are unreadable:\n  {listed}")
    return LabelledImages(
        images=np.stack(images),
        labels=np.array(labels, dtype=np.int64),
        paths=tuple(path for path, _ in entries),
        groups=tuple(group for _, group in entries),
    )


def _from_tree(folder: Path) -> Iterator[tuple[Path, str]]:
    if not folder.is_dir():
        raise DataError(f"no such folder: {folder}")
    groups = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    if not groups:
        raise DataError(f"{folder} has no sub-folders; one per class is expected")
    for group in groups:
        files = sorted(p for p in group.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(f"class folder without images: {group}")
        yield from ((path, group.name.lower()) for path in files)


def _from_table(table: Path) -> Iterator[tuple[Path, str]]:
    if not table.is_file():
        raise DataError(f"no such file: {table}")
    with table.open(newline="", encoding="utf-8") as lines:
        reader = csv.DictReader(lines)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise DataError(f"{table} lacks the columns {sorted(missing)}")
        for row in reader:
            yield table.parent / row["path"], row["label"].strip().lower()


def _class_index(group: str, source: Path, only_classes: bool) -> int:
    if group in CLASS_KEYS:
        return CLASS_KEYS.index(group)
    if only_classes:
        raise DataError(f"unknown class {group!r} in {source}; expected one of {CLASS_KEYS}")
    return NO_CLASS


def join_images(parts: Iterable[LabelledImages]) -> LabelledImages:
    """Put several sets into one, in their order."""
    joined = list(parts)
    return LabelledImages(
        np.concatenate([part.images for part in joined]),
        np.concatenate([part.labels for part in joined]),
        tuple(path for part in joined for path in part.paths),
        tuple(group for part in joined for group in part.groups),
    )


def _read_all(
    paths: Sequence[Path], size: int, margin: float
) -> tuple[list[NDArray[np.uint8]], list[str]]:
    failures: list[str] = []

    def read(path: Path) -> NDArray[np.uint8] | None:
        try:
            with Image.open(path) as image:
                return prepare_at(image.convert("RGB"), size, margin=margin)
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            failures.append(f"{path}: {error}")
            return None

    with ThreadPoolExecutor() as pool:
        images = [image for image in pool.map(read, paths) if image is not None]
    return images, failures


class BalancedBatches(keras.utils.PyDataset):
    """Batches in which rare classes appear more often than in the source.

    The share of a class is proportional to the square root of its count. Within a class, images
    are drawn without repetition as long as there are enough. The order depends on the seed and the
    epoch only, so a resumed training sees what the interrupted one would have seen.

    Args:
        data: Images and labels, all of known class.
        batch_size: Images in a batch.
        batches: Batches in an epoch.
        seed: Seed of the order.
        first_epoch: Epoch with which the training starts.
    """

    def __init__(
        self,
        data: LabelledImages,
        *,
        batch_size: int,
        batches: int,
        seed: int,
        first_epoch: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or batches < 1:
            raise ValueError(
                f"batch_size and batches must be positive, received {batch_size} and {batches}"
            )
        self.data = data
        self.batch_size = batch_size
        self.batches = batches
        self.seed = seed
        self.epoch = first_epoch
        self.order = self._draw()

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        targets = np.eye(len(CLASS_KEYS), dtype=np.float32)[self.data.labels[chosen]]
        return self.data.images[chosen], targets

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self.order = self._draw()

    def _draw(self) -> NDArray[np.int64]:
        random = np.random.default_rng((self.seed, self.epoch))
        wanted = self.batch_size * self.batches
        counts = np.bincount(self.data.labels, minlength=len(CLASS_KEYS))
        shares = np.sqrt(counts) / np.sqrt(counts).sum()
        parts = []
        for label, share in enumerate(shares):
            members = np.flatnonzero(self.data.labels == label)
            needed = int(np.ceil(share * wanted))
            rounds = -(-needed // len(members)) if len(members) else 0
            shuffled = [random.permutation(members) for _ in range(rounds)]
            parts.append(np.concatenate([*shuffled, np.empty(0, np.int64)])[:needed])
        return random.permutation(np.concatenate(parts).astype(np.int64))[:wanted]
