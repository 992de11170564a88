"""`import_dicom` where the queue is full: it waits, loses nothing, and says how to go on."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from specimens.management.commands import import_dicom
from specimens.models import CellImage, DicomImport, Job
from tests.dicom.files import instance, plain_cell, saved
from tests.factories import Cast, make_cast

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

FILES = 6
ROOM = 3


@pytest.fixture
def laboratory(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Cast:
    """A site with one specimen and room for three images in the queue."""
    settings.QUEUE_LIMIT = ROOM - 1
    monkeypatch.setattr(import_dicom, "_ASK_AGAIN_SECONDS", 0.1)
    cast = make_cast()
    cast.specimen(accession_number="A1")
    return cast


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "medium"
    folder.mkdir()
    for number in range(FILES):
        saved(instance(plain_cell(number), AccessionNumber="A1"), folder / f"{number}.dcm")
    return folder


def classified(*_: Any) -> None:
    """What workers would do to the queue."""
    Job.objects.filter(state=Job.State.QUEUED).update(state=Job.State.DONE)


def interrupted(*_: Any) -> None:
    """Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def once_it_waits(act: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread while the command waits for room."""

    def run() -> None:
        try:
            while CellImage.objects.count() < ROOM:
                time.sleep(0.05)
            time.sleep(0.5)
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)


def run(folder: Path, *options: str) -> None:
    call_command("import_dicom", str(folder), "--site", "main", "--quiet", *options)


def test_it_waits_until_there_is_room(
    laboratory: Cast, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with once_it_waits(classified):
        run(folder)
    said = capsys.readouterr()
    assert f"{FILES} DICOM files: {FILES} added to a specimen." in said.out
    assert said.err.count("waiting until there is room") == 1
    assert "No worker is alive" in said.err
    assert CellImage.objects.count() == FILES
    assert not DicomImport.objects.filter(outcome="refused").exists()


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal: a suite that a shell runs in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupted_it_says_how_to_go_on(
    laboratory: Cast, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with once_it_waits(interrupted), pytest.raises(CommandError, match="same command again"):
        run(folder)
    assert f"{ROOM} added to a specimen" in capsys.readouterr().out
    classified()
    run(folder)
    assert f"{ROOM} added to a specimen, {ROOM} known already" in capsys.readouterr().out
    assert CellImage.objects.count() == FILES


def test_it_can_be_told_not_to_wait(
    laboratory: Cast, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CommandError, match=r"3\.dcm: The queue is full.*same command again"):
        run(folder, "--no-wait")
    assert f"{ROOM} added to a specimen" in capsys.readouterr().out
