"""The commands of docs/api.md and docs/integration.md, run as they stand, one after the other.

A block behind `<!-- run: STATUS -->` is run by bash (other marks are of other tests); the last call
of curl in it must answer with that status. Variables stay from block to block, as in the terminal
of a reader.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.conf import settings

from tests.api.pictures import image
from tests.service import Service

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DOCS = Path(settings.BASE_DIR) / "docs"
_BLOCK = re.compile(r"( *)<!-- run(?:: (\d{3}|python))? -->\n *```sh\n(.*?)\n *```", re.DOTALL)

# Around each block: curl keeps the headers of its last answer, and says nothing of its progress.
_SHELL = r"""
set -eo pipefail
curl() { command curl --silent --show-error --dump-header "$WORK/headers" "$@"; }
[ ! -f "$WORK/variables" ] || source "$WORK/variables"
rm -f "$WORK/headers"
%s
kept="URL TOKEN READER PERSON ORDER SPECIMEN CELL ETAG IMAGE"
declare -p $kept 2>/dev/null >"$WORK/variables" || true
declare -f field >>"$WORK/variables" || true
"""


@dataclass(frozen=True)
class Block:
    """A documented command and what is expected of it: a status, "python", or "" for nothing."""

    expected: str
    command: str


def blocks(document: str) -> list[Block]:
    """Return the marked blocks of a document, without their indentation in lists."""
    text = (DOCS / document).read_text()
    found = []
    for indent, expected, command in _BLOCK.findall(text):
        lines = [line.removeprefix(indent) for line in command.split("\n")]
        found.append(Block(expected, "\n".join(lines)))
    return found


@pytest.fixture
def folder(tmp_path: Path, service: Service) -> Path:
    """A reader's folder: pictures of cells, the checkout's files, a `python` that knows it."""
    (tmp_path / "cell.jpg").write_bytes(image(format="JPEG"))
    (tmp_path / "cell_2.jpg").write_bytes(image(size=(80, 80), format="JPEG"))
    (tmp_path / "notes.jpg").write_bytes(b"no picture")
    for name in ("manage.py", "docs"):
        (tmp_path / name).symlink_to(Path(settings.BASE_DIR) / name)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return tmp_path


def run(block: Block, folder: Path, service: Service) -> tuple[int, str]:
    """Run a block; return the status of its last call of curl (0: none) and its output."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("WBCLAB_")}
    own = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "WORK": str(folder),
        "URL": service.url,
        "WBCLAB_HOME": str(service.home),
        "PYTHONPATH": str(settings.BASE_DIR),
    }
    done = subprocess.run(
        ["bash", "-c", _SHELL % block.command],
        cwd=folder,
        env=known | own,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"{block.command}\n{said}"
    headers = folder / "headers"
    if not headers.exists():
        return 0, said
    statuses = re.findall(r"^HTTP/\S+ (\d+)", headers.read_text(), re.MULTILINE)
    return int(statuses[-1]), said


@pytest.mark.parametrize("document", ["api.md", "integration.md"])
def test_the_commands_of_a_document_do_what_it_says(
    document: str, folder: Path, service: Service
) -> None:
    found = blocks(document)
    # The way in stands in one document and holds for both.
    for block in blocks("api.md")[:2] if document != "api.md" else []:
        run(block, folder, service)
    assert found, f"docs/{document} has no command that is run"
    for block in found:
        status, said = run(block, folder, service)
        if block.expected.isdecimal():
            assert status == int(block.expected), f"{block.command}\n{said}"
        if block.expected == "python":
            assert said.count("(0.") + said.count("(1.") == 2, said


def test_each_command_with_curl_is_run() -> None:
    text = (DOCS / "api.md").read_text()
    assert len(re.findall(r"```sh\n", text)) == len(blocks("api.md"))
