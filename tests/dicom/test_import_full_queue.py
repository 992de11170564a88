"""`import_dicom` where the queue is full: it waits, loses nothing, and says how to go on."""

import io
import signal
import threading
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
from tests.processes import wait_until

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

FILES = 6
ROOM = 3
WAITS = "waiting until there is room"


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
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


@contextmanager
def once_it_waits(said: io.StringIO, act: Callable[[], None]) -> Iterator[None]:
    """Do something in another thread as soon as the command has said that it waits for room."""

    def run() -> None:
        try:
            wait_until(lambda: WAITS in said.getvalue(), 60, "it says that it waits")
            act()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(90)


def run(folder: Path, *options: str, **more: Any) -> None:
    call_command("import_dicom", str(folder), "--site", "main", "--quiet", *options, **more)


def test_it_waits_until_there_is_room(
    laboratory: Cast, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = io.StringIO()
    with once_it_waits(said, classified):
        run(folder, stderr=said)
    assert f"{FILES} DICOM files: {FILES} added to a specimen." in capsys.readouterr().out
    assert said.getvalue().count(WAITS) == 1
    assert "No worker is alive" in said.getvalue()
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
    laboratory: Cast,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = io.StringIO()
    with (
        monkeypatch.context() as patched,
        once_it_waits(said, interrupted),
        pytest.raises(CommandError, match="same command again"),
    ):
        # In the middle of a statement an interrupt would leave the test's connection unusable.
        patched.setattr(import_dicom, "_ASK_AGAIN_SECONDS", 60)
        run(folder, stderr=said)
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
