"""Labelled images as a laboratory has them: a folder for each class, or a table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from classifier.evaluation.labels import NO_CLASS, accepted_names, class_index, class_key

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".dcm"})
MANIFEST_FILE = "manifest.csv"


class LabelError(Exception):
    """The labels cannot be used; the message says which, and what is accepted."""


@dataclass(frozen=True, slots=True)
class LabelledFile:
    """A file and what a person says it shows.

    Attributes:
        path: the file, which may turn out to be missing or unreadable.
        group: key of the class, or the name of the folder for cells of another kind.
        label: index of the model's output, -1 for none of its classes.
        specimen: what comes from one specimen bears the same text; empty where it is not known.
    """

    path: Path
    group: str
    label: int
    specimen: str = ""


def read_labelled(source: Path) -> list[LabelledFile]:
    """The images of a folder with one sub-folder per class, or of a CSV file.

    The CSV has the columns `path` (relative to the file) and `label`, and may have `specimen`;
    commas, semicolons or tabs separate them. A folder that holds a `manifest.csv` is read by it.

    Raises:
        LabelError: nothing is there, or a class is not known.
    """
    if (source / MANIFEST_FILE).is_file():
        source = source / MANIFEST_FILE
    if source.is_dir():
        named = list(_named_in_folder(source))
        what = "sub-folder"
    elif source.suffix.lower() in (".csv", ".tsv", ".txt") and source.is_file():
        named = list(_named_in_table(source))
        what = "label"
    else:
        raise LabelError(
            f"There is no folder and no CSV file at {source}. Give a folder with one sub-folder "
            f"per class, or a CSV file with the columns path and label."
        )
    unknown = sorted({name for _, name, _ in named if class_key(name) is None})
    if unknown:
        listed = ", ".join(repr(name) for name in unknown[:10])
        raise LabelError(
            f"{source}: {what} {listed} is no class known here. Accepted are {accepted_names()}. "
            f"Cells of any other kind can be given with --other FOLDER."
        )
    if not named:
        raise LabelError(f"{source} holds no images.")
    return [_labelled(path, name, specimen) for path, name, specimen in named]


def read_others(folder: Path) -> list[LabelledFile]:
    """Images of none of the model's classes: grouped by sub-folder, whatever it is called.

    Raises:
        LabelError: the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise LabelError(f"There is no folder at {folder}.")
    files = [
        LabelledFile(path, class_key(name) or name.strip().lower(), NO_CLASS)
        for path, name in (
            *((path, folder.name) for path in _images(folder.iterdir())),
            *(
                (path, group.name)
                for group in _sub_folders(folder)
                for path in _images(group.rglob("*"))
            ),
        )
    ]
    if not files:
        raise LabelError(f"{folder} holds no images.")
    return files


def halves(files: Sequence[LabelledFile]) -> tuple[list[LabelledFile], list[LabelledFile]]:
    """Every other file of each group: one half to fit on, one to measure on.

    Files of a group keep the order they are given in, which is that of their names.
    """
    parts: tuple[list[LabelledFile], list[LabelledFile]] = ([], [])
    for group in sorted({file.group for file in files}):
        members = [file for file in files if file.group == group]
        for part, start in zip(parts, (0, 1), strict=True):
            part += members[start::2]
    return parts


def _labelled(path: Path, name: str, specimen: str) -> LabelledFile:
    key = class_key(name) or ""
    return LabelledFile(path, key, class_index(key), specimen)


def _named_in_folder(folder: Path) -> Iterator[tuple[Path, str, str]]:
    groups = _sub_folders(folder)
    if not groups:
        raise LabelError(
            f"{folder} has no sub-folders. One for each class is expected, with its images in it; "
            f"accepted are {accepted_names()}."
        )
    for group in groups:
        files = _images(group.rglob("*"))
        if files or class_key(group.name) is None:
            yield from ((path, group.name, "") for path in files)


def _sub_folders(folder: Path) -> list[Path]:
    """Without those that systems leave behind, such as `__MACOSX` and `.ipynb_checkpoints`."""
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))
    )


def _images(paths: Iterator[Path]) -> list[Path]:
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and not path.is_dir()
    )


def _named_in_table(table: Path) -> Iterator[tuple[Path, str, str]]:
    try:
        text = table.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(f"{table} is not in UTF-8 ({error.reason}): save it as such.") from error
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(text.splitlines(), delimiter=separator)
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    missing = sorted({"path", "label"} - columns.keys())
    if missing:
        raise LabelError(
            f"{table} lacks the column {' and '.join(missing)}. Its first line names the columns: "
            f"path, label and, if known, specimen."
        )
    for number, row in enumerate(reader, start=2):
        path, label = ((row[columns[name]] or "").strip() for name in ("path", "label"))
        if not path and not label:
            continue
        if not path or not label:
            raise LabelError(f"{table}, line {number}: path or label is empty.")
        specimen = row[columns["specimen"]] if "specimen" in columns else ""
        yield table.parent / path, label, (specimen or "").strip()
