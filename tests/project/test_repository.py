"""What stands in the repository: nothing of one machine, nothing too large, nothing shared."""

import csv
import hashlib
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

from tests.counterparts import LABELLED_IMAGES

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@cache
def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    assert paths, "git lists no file: is this a checkout?"
    return [path for path in paths if path.is_file()]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_lock_files_hold_hashes_and_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"https?:|file:|index-url|find-links|trusted-host", text)
    pins = re.findall(r"^\S+==", text, flags=re.MULTILINE)
    assert pins
    for pin in re.split(r"\n(?=\S+==)", text):
        assert "==" not in pin or "--hash=sha256:" in pin, pin.splitlines()[0]


def pins_of(name: str) -> set[str]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return set(re.findall(r"^[\w.-]+(?:\[[\w,]+\])?==[^\s;]+", text, flags=re.MULTILINE))


@pytest.mark.parametrize(("smaller", "larger"), [("serve", "train"), ("train", "test")])
def test_a_larger_lock_file_holds_the_smaller_one(smaller: str, larger: str) -> None:
    # scripts/install_requirements.sh relies on it: what is installed for tests also serves.
    def bare(name: str) -> set[str]:
        return {re.sub(r"\[.*?\]", "", pin) for pin in pins_of(name)}

    assert bare(smaller) <= bare(larger)


def test_serving_needs_no_tensorflow() -> None:
    assert not [pin for pin in pins_of("serve") if pin.startswith(("tensorflow", "keras"))]


def test_no_file_is_over_25_megabytes() -> None:
    assert not [path for path in tracked_files() if path.stat().st_size > 25 * 2**20]


def test_no_path_of_anybodys_machine_stands_in_a_file() -> None:
    somewhere = re.compile(rb"%s/|/(?:home|Users)/\w+/" % re.escape(bytes(ROOT)))
    assert not [path for path in tracked_files() if somewhere.search(path.read_bytes())]


@pytest.mark.data
def test_no_shared_image_is_copied_into_the_project() -> None:
    with (LABELLED_IMAGES / "manifest.csv").open(newline="") as file:
        shared = {row["sha256"] for row in csv.DictReader(file)}
    assert shared
    copied = [
        path for path in tracked_files() if hashlib.sha256(path.read_bytes()).hexdigest() in shared
    ]
    assert not copied


def test_every_environment_name_is_documented_and_every_documented_one_is_read() -> None:
    table = (ROOT / "docs" / "deployment.md").read_text()
    documented = {
        name
        for line in table.splitlines()
        if line.startswith("| `WBCLAB_")
        for name in re.findall(r"`(WBCLAB_[A-Z0-9_]+)`", line.split("|")[1])
    }
    sources = [
        path
        for path in tracked_files()
        if path.is_relative_to(ROOT / "scripts")
        or path.is_relative_to(ROOT / "wbclab")
        or path.is_relative_to(ROOT / "classifier")
        or path.is_relative_to(ROOT / "specimens")
    ]
    read = set(re.findall(r"WBCLAB_[A-Z0-9_]+", "\n".join(map(_text_of, sources))))
    # "WBCLAB_HL7_*" in a text stands for the names that begin so.
    groups = {
        name
        for name in read - documented
        if name.endswith("_") and any(one.startswith(name) for one in documented)
    }
    assert documented == (read - groups) | {"WBCLAB_DATA"}


def _text_of(path: Path) -> str:
    return path.read_text() if path.suffix in {".py", ".sh"} else ""
