"""The drill: back up under load, wreck everything, restore; and what a backup refuses."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from specimens.services.backup import BackupError, make_backup
from specimens.services.backup_images import ImagePool
from specimens.services.restoring import _read_manifest
from tests.factories import Cast, upload
from tests.processes import die_with_parent, wait_until

pytestmark = pytest.mark.core
ROOT = Path(__file__).resolve().parents[2]


class Installation:
    """A database of its own (of the kind the test run uses) and a folder of images."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.home = folder / "home"
        self._maintenance = database_url
        own = {name: value for name, value in os.environ.items() if "WBCLAB" not in name}
        self.environment = own | {
            "WBCLAB_HOME": str(self.home), "DJANGO_SETTINGS_MODULE": "wbclab.settings",
            "WBCLAB_DELIVERY_TEST_SECRET": "a-secret-of-more-than-sixteen-bytes",
        }  # fmt: skip
        if database_url:
            address = database_url.rpartition("/")[0]
            self.environment["WBCLAB_DATABASE_URL"] = f"{address}/wbclab_drill"
        self.empty()

    def empty(self) -> None:
        """Drop the database and the images, whoever uses them."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        if self._maintenance:
            with psycopg.connect(self._maintenance, autocommit=True) as server:
                server.execute("DROP DATABASE IF EXISTS wbclab_drill WITH (FORCE)")
                server.execute("CREATE DATABASE wbclab_drill")

    def run(self, *arguments: str) -> list[str]:
        """Run the drill's part in a process; the lines it wrote."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.operations.drill", *arguments],
            cwd=ROOT, env=self.environment, capture_output=True, text=True, timeout=150,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.splitlines()

    @contextmanager
    def under_load(self, log: Path) -> Iterator[Any]:
        """Sign cases meanwhile, then kill -9; hands out what has been signed so far."""
        with log.open("wb") as out, (log.with_suffix(".err")).open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.operations.drill", "load"],
                cwd=ROOT, env=self.environment, stdout=out, stderr=errors,
                preexec_fn=die_with_parent(),
            )  # fmt: skip

        def signed() -> list[Any]:
            assert process.poll() is None, log.with_suffix(".err").read_text()[-3000:]
            return [json.loads(line) for line in log.read_text().splitlines(keepends=True)
                    if line.endswith("\n")]  # fmt: skip

        try:
            yield signed
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_installation_comes_back_from_a_backup_made_under_load(tmp_path: Path) -> None:
    installation = Installation(tmp_path, os.environ.get("WBCLAB_DATABASE_URL", ""))
    target = tmp_path / "backups"
    with installation.under_load(tmp_path / "load.log") as signed:
        wait_until(lambda: len(signed()) >= 3, 120, "three signed reports")
        before = signed()
        first, second = installation.run("backup", str(target))
        wait_until(lambda: len(signed()) > len(before), 60, "work went on meanwhile")
    (_, new_at_first), (files, new) = (
        map(int, re.findall(r" (\d+) ", line)) for line in (first, second)
    )
    # What the first has is not kept twice.
    assert new_at_first and files >= new_at_first + new
    newest = sorted(path for path in target.iterdir() if path.name[0] == "2")[-1]
    installation.empty()
    state, refusal = (json.loads(line) for line in installation.run("restore", str(newest)))
    assert all(one in state["reports"] for one in before)
    assert state["images"] >= len(state["reports"]) + 1
    assert "all sound" in state["verified"]
    assert state["jobs"] == ["done", "queued"]
    assert state["deliveries"] == ["held"]
    assert "It may have arrived after that" in state["held"]
    assert state["last_act"] == "installation.restored"
    assert "This installation is in use" in refusal


@pytest.fixture
def backed_up(cast: Cast, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup of two images whose database is a file of a few words."""
    from specimens.services.imaging import add_cell_images

    def few_words(folder: Path) -> Path:
        (folder / "database.dump").write_text("words")
        return folder / "database.dump"

    monkeypatch.setattr("specimens.services.backup.dump_database", few_words)
    uploads = [upload(n) for n in range(2)]
    add_cell_images(
        actor=cast.technician, site=cast.site, specimen=cast.specimen(), uploads=uploads
    )
    return make_backup(target=tmp_path / "backups").folder


@pytest.mark.django_db
def test_what_was_changed_in_a_backup_is_found(backed_up: Path) -> None:
    _read_manifest(backed_up)
    images = backed_up.parent / "images.sha256"
    kept = images.read_bytes()
    images.write_bytes(kept + b"of a later backup  x\n")
    _read_manifest(backed_up)
    images.write_bytes(kept.replace(b"0", b"1", 1))
    with pytest.raises(BackupError, match="list of images was changed"):
        _read_manifest(backed_up)
    images.write_bytes(kept)
    (backed_up / "database.dump").write_text("other words")
    with pytest.raises(BackupError, match="its digest differs"):
        _read_manifest(backed_up)
    with pytest.raises(BackupError, match="no backup that can be read"):
        _read_manifest(backed_up.parent)


@pytest.mark.django_db
def test_no_backup_is_made_that_lacks_an_image(backed_up: Path, settings: Any) -> None:
    names = [line.partition("  ")[2] for line in
             (backed_up.parent / "images.sha256").read_text().splitlines()]  # fmt: skip
    assert ImagePool(backed_up.parent).take(Path(settings.MEDIA_ROOT)) == 0
    (Path(settings.MEDIA_ROOT) / names[0]).unlink()
    other = backed_up.parent.with_name("others")
    with pytest.raises(BackupError, match="is not in the image store"):
        make_backup(target=other)
    assert not [path for path in other.iterdir() if path.name[0] in ".2" and path.is_dir()]
