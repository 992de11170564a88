"""Taking in images: what is answered with "accepted" is stored, queued and on disk."""

import errno
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError

from specimens.models import CellImage, Job, Specimen
from specimens.services import imaging, storage
from specimens.services.errors import QueueFull, StorageUnavailable
from specimens.services.imaging import Received, add_cell_images, clean_filename
from specimens.services.storage import DurableStorage
from specimens.workflow import NotAllowedInState
from tests.factories import Cast, picture, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db]


def _add(cast: Cast, specimen: Specimen, *uploads: SimpleUploadedFile) -> list[Received]:
    return add_cell_images(
        actor=cast.technician, site=cast.site, specimen=specimen, uploads=uploads
    )


def _files(settings: Any) -> list[Path]:
    return [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_the_stored_file_is_the_one_received(cast: Cast, settings: Any) -> None:
    (received,) = _add(cast, cast.specimen(), upload(7))
    image = CellImage.objects.get()
    assert received.cell_image == image
    with default_storage.open(str(image.file.name)) as stored:
        assert stored.read() == picture(7)
    assert (image.width, image.height, image.media_type) == (64, 64, "image/png")
    assert Job.objects.get().cell_image == image
    assert len(_files(settings)) == 1


def test_a_refused_file_says_why_and_the_others_are_taken(cast: Cast, settings: Any) -> None:
    good, bad = upload(1), SimpleUploadedFile("notes.jpg", b"hello")
    received = _add(cast, cast.specimen(), bad, good)
    assert [r.status for r in received] == ["refused", "accepted"]
    assert received[0].code == "not_an_image"
    assert "JPEG, PNG" in received[0].message
    assert len(_files(settings)) == CellImage.objects.count() == 1


def test_the_same_content_counts_once_per_specimen(cast: Cast, settings: Any) -> None:
    specimen = cast.specimen()
    first = _add(cast, specimen, upload(1), upload(1, "copy.png"), upload(2))
    assert [r.status for r in first] == ["accepted", "duplicate", "accepted"]
    again = _add(cast, specimen, upload(1))
    assert again[0].status == "duplicate"
    assert again[0].cell_image == first[0].cell_image
    assert len(_files(settings)) == CellImage.objects.count() == Job.objects.count() == 2
    assert _add(cast, cast.specimen(), upload(1))[0].status == "accepted"


def test_files_that_come_together_wait_for_their_folder_once(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add(cast, cast.specimen(), upload(0))
    waited: list[Path] = []
    monkeypatch.setattr(storage, "_fsync_folder", waited.append)
    received = _add(cast, cast.specimen(), *(upload(colour) for colour in range(1, 6)))
    assert [one.status for one in received] == ["accepted"] * 5
    assert len(waited) == 1


def test_a_full_disk_accepts_nothing_and_leaves_nothing(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = DurableStorage._save
    calls = iter(range(9))

    def second_fails(self: Any, name: str, content: Any) -> str:
        if next(calls) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved: str = original(self, name, content)
        return saved

    monkeypatch.setattr(DurableStorage, "_save", second_fails)
    with pytest.raises(StorageUnavailable, match="none was accepted"):
        _add(cast, cast.specimen(), upload(1), upload(2))
    assert not CellImage.objects.exists()
    assert not _files(settings)


def test_a_disk_that_fails_at_the_wait_leaves_nothing(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(9))

    def second_fails(_: int) -> None:
        if next(calls) == 1:
            raise OSError(errno.EIO, "Input/output error")

    _add(cast, cast.specimen(), upload(0))
    monkeypatch.setattr("os.fsync", second_fails)
    with pytest.raises(StorageUnavailable, match="none was accepted"):
        _add(cast, cast.specimen(), upload(1), upload(2))
    assert len(_files(settings)) == CellImage.objects.count() == 1


def test_a_file_saved_alone_has_its_name_once_it_is_on_disk(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What copies a file under a known name may be told by the name that it is whole."""
    seen: list[list[str]] = []
    default_storage.save("first.bin", ContentFile(b"1"))
    folder = Path(settings.MEDIA_ROOT)
    monkeypatch.setattr("os.fsync", lambda _: seen.append(sorted(p.name for p in folder.iterdir())))
    default_storage.save("second.bin", ContentFile(b"2"))
    before, after = seen
    assert "second.bin" not in before and len(before) == 2
    assert after == ["first.bin", "second.bin"]


def test_a_commit_nobody_heard_of_keeps_its_files(
    cast: Cast, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection broke at the commit: the rows may be there, and then need their files."""

    def breaks(*args: Any) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(imaging, "_write_rows", breaks)
    with pytest.raises(OperationalError):
        _add(cast, cast.specimen(), upload(1))
    assert len(_files(settings)) == 1


def test_a_full_queue_refuses_before_anything_is_stored(cast: Cast, settings: Any) -> None:
    settings.QUEUE_LIMIT = 2
    _add(cast, cast.specimen(), upload(1), upload(2), upload(3))
    with pytest.raises(QueueFull) as caught:
        _add(cast, cast.specimen(), upload(4))
    assert caught.value.retry_after_seconds > 0
    assert CellImage.objects.count() == 3


def test_guards(cast: Cast) -> None:
    specimen = cast.specimen(state=Specimen.State.REJECTED)
    with pytest.raises(NotAllowedInState, match="rejected"):
        _add(cast, specimen, upload(1))
    with pytest.raises(Specimen.DoesNotExist):
        add_cell_images(
            actor=cast.outsider,
            site=cast.other_site,
            specimen=cast.specimen(),
            uploads=[upload(1)],
        )
    with pytest.raises(PermissionDenied):
        add_cell_images(
            actor=cast.administrator, site=cast.site, specimen=cast.specimen(), uploads=[upload(1)]
        )


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\cells\\a.jpg", "a.jpg"),
        ("a\x00b\n.png", "ab.png"),
        ("", "unnamed"),
        (None, "unnamed"),
        ("ü" * 300 + ".png", "ü" * 251 + ".png"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
def test_file_names_are_cleaned(given: str | None, kept: str) -> None:
    assert clean_filename(given) == kept
