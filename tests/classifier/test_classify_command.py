"""`manage.py classify`: files, folders and whatever else is named."""

import csv
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from classifier.management.commands.classify import COLUMNS
from tests.classifier import image_files as files

ROOT = Path(__file__).resolve().parents[2]
COLUMN_LINE = (
    "path,predicted_class,decision,confidence,ood_score,"
    "p_basophil,p_eosinophil,p_lymphocyte,p_monocyte,p_neutrophil,error"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two readable images, one that is none, and a file that is not meant."""
    images = tmp_path / "images"
    (images / "deeper").mkdir(parents=True)
    (images / "b.png").write_bytes(files.encode(files.draw_cell(), "PNG"))
    (images / "deeper" / "a.JPG").write_bytes(files.encode(files.draw_cell(), "JPEG"))
    (images / "c.jpg").write_bytes(b"Dear colleague")
    (images / "notes.txt").write_bytes(b"Dear colleague")
    return images


@pytest.fixture(autouse=True)
def _two_decoders(settings: Any) -> Iterator[None]:
    settings.DECODER_PROCESSES = 2
    settings.ENGINE = "onnxruntime"
    settings.ENGINE_THREADS = 2
    yield


def classify(*paths: object, **options: Any) -> tuple[str, str]:
    """What stands on standard output, and the message at the end."""
    out = io.StringIO()
    message = ""
    try:
        call_command("classify", *map(str, paths), stdout=out, **options)
    except CommandError as error:
        message = str(error)
    return out.getvalue(), message


def test_csv(folder: Path) -> None:
    text, message = classify(folder, format="csv")
    lines = text.splitlines()
    assert lines[0] == COLUMN_LINE == ",".join(COLUMNS)
    rows = list(csv.DictReader(lines))
    assert [Path(row["path"]).name for row in rows] == ["b.png", "c.jpg", "a.JPG"]
    good, bad = rows[0], rows[1]
    assert good["error"] == ""
    total = sum(float(good[name]) for name in COLUMNS if name.startswith("p_"))
    assert total == pytest.approx(1.0, abs=1e-5)
    assert "not an image" in bad["error"]
    assert bad["decision"] == bad["confidence"] == ""
    assert message == "1 of 3 could not be classified."


def test_json(folder: Path) -> None:
    text, _ = classify(folder, format="json")
    rows = json.loads(text)
    assert [set(row) for row in rows] == [set(COLUMNS)] * 3
    assert rows[0]["error"] is None
    assert isinstance(rows[0]["confidence"], float)
    assert rows[1]["confidence"] is None


def test_table(folder: Path) -> None:
    text, _ = classify(folder, format="table")
    assert "decision" in text.splitlines()[0]
    assert text.splitlines()[-1].startswith("3 in all: ")
    assert "1 error" in text.splitlines()[-1]


def test_a_file_is_read_whatever_its_name_is(folder: Path) -> None:
    strange = folder / "no suffix"
    strange.write_bytes(files.encode(files.draw_cell(), "TIFF"))
    text, message = classify(strange, format="csv")
    assert (len(text.splitlines()), message) == (2, "")


def test_missing_paths_and_empty_folders_are_rows(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    text, message = classify(
        tmp_path / "nowhere", folder / "b.png", tmp_path / "empty", "x" * 5000, format="csv"
    )
    errors = [row["error"] for row in csv.DictReader(text.splitlines())]
    assert "No such file" in errors[0]
    assert errors[1] == ""
    assert "no image file" in errors[2]
    assert "cannot be read" in errors[3]
    assert message == "3 of 4 could not be classified."


def test_more_images_than_one_batch(folder: Path) -> None:
    text, message = classify(*[folder / "b.png"] * 150, format="csv")
    rows = list(csv.DictReader(text.splitlines()))
    assert (len(rows), message) == (150, "")
    assert len({row["decision"] for row in rows}) == 1


def test_a_missing_model_is_said_in_one_line(folder: Path, settings: Any, tmp_path: Path) -> None:
    settings.MODEL_DIR = tmp_path / "nowhere"
    text, message = classify(folder)
    assert text == ""
    assert "There is no model" in message


def run(
    *arguments: str, home: Path, stderr: int = subprocess.PIPE
) -> "subprocess.CompletedProcess[bytes]":
    """The command as a person starts it, in a place without a database."""
    environment = os.environ | {
        "WBCLAB_HOME": str(home),
        "WBCLAB_DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
    }
    return subprocess.run(
        [sys.executable, "manage.py", "classify", *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        check=False,
        timeout=120,
    )


def test_a_progress_bar_on_a_terminal_only(folder: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    # A new terminal has no columns, which leaves no room for a bar.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 80, 0, 0))
    result = run(str(folder / "b.png"), "--format", "csv", home=tmp_path, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 65536)
    os.close(ours)
    assert b"1/1" in shown
    assert len(result.stdout.splitlines()) == 2


def test_it_needs_no_database_and_ends_with_an_exit_code(folder: Path, tmp_path: Path) -> None:
    good = run(str(folder / "b.png"), "--format", "csv", home=tmp_path)
    assert (good.returncode, good.stderr) == (0, b"")
    name = os.fsencode(folder) + b"/caf\xe9.png"
    Path(os.fsdecode(name)).write_bytes(b"Dear colleague")
    bad = run(str(folder), "--format", "csv", home=tmp_path)
    assert bad.returncode == 1
    assert bad.stderr == b"CommandError: 2 of 4 could not be classified.\n"
    assert "caf\ufffd.png" in bad.stdout.decode()
