"""docs/security.md: each line of the checklist names evidence, and what it names exists."""

import re
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
CHECKLIST = DOCUMENT[DOCUMENT.index("## Checklist") :]
LINES = [
    tuple(cell.strip() for cell in line.strip("|").split("|"))
    for line in CHECKLIST.splitlines()
    if re.match(r"\| \d", line)
]
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", DOCUMENT)))
SETTINGS = sorted(set(re.findall(r"setting: `(\w+)`", DOCUMENT)))


@cache
def _source(path: str) -> str:
    return "\n".join(found.read_text() for found in sorted(ROOT.glob(path)))


def test_every_chapter_is_there() -> None:
    assert re.findall(r"^### V(\d+) ", CHECKLIST, re.MULTILINE) == [str(n) for n in range(1, 15)]
    assert len(LINES) > 80


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[0].split(" ")[0])
def test_every_line_has_evidence(line: tuple[str, ...]) -> None:
    requirement, evidence = line
    assert re.search(r"`tests/[\w/]+\.py|setting: `|reason: \S", evidence), requirement


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert re.search(rf"def {name or 'test_'}", _source(path))
    if name:
        assert re.search(rf"^\s*(?:async )?def {name}\(", _source(path), re.MULTILINE)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_that_is_named_is_set(name: str) -> None:
    assert hasattr(settings, name)
    assert re.search(rf"\b{name}\b", _source("wbclab/settings*.py"))


def test_names_of_the_environment_are_those_of_the_deployment_page() -> None:
    table = (ROOT / "docs" / "deployment.md").read_text()
    for name in set(re.findall(r"`(WBCLAB_[A-Z0-9_]+)", DOCUMENT)):
        assert f"`{name}`" in table, name
