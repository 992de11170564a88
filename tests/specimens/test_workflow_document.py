"""docs/workflow.md says what the code does: states, gate, roles, the content of a report."""

import re
from pathlib import Path

from specimens.models import Role
from specimens.permissions import ROLES
from specimens.workflow import TRANSITIONS, CaseFacts, sign_obstacles
from tests.reports import content

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "workflow.md").read_text()


def _table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading, without its head."""
    below = TEXT.partition(f"\n## {heading}\n")[2]
    lines = re.findall(r"(?:^\|.*\n)+", below, flags=re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_states_are_those_of_the_code() -> None:
    documented = {act: (before.split(", "), after) for act, before, after, _ in _table(
        "States of a specimen"
    )}  # fmt: skip
    del documented["accession"]
    assert documented == {
        act.value: ([state.value for state in ways], next(iter(ways.values())).value)
        for act, ways in TRANSITIONS.items()
    }


def test_the_obstacles_are_those_of_the_gate() -> None:
    closed = CaseFacts(
        unfinished=1, failed=1, unreviewed=1, unidentified=1,
        quality_lock="x", signer_alone=True, four_eyes=True,
    )  # fmt: skip
    found = [*sign_obstacles(closed), *sign_obstacles(CaseFacts(counted=1))]
    documented = {code: can == "yes" for code, _, can in _table("The sign gate")}
    assert documented == {one.code: one.bypassable for one in found}


def test_the_roles_are_those_of_the_code() -> None:
    documented = {
        action: [bool(cell) for cell in cells] for action, *cells in _table("Roles")
    }  # fmt: skip
    assert documented == {
        action.value: [role in roles for role in Role] for action, roles in ROLES.items()
    }


def test_the_content_of_a_report_has_the_documented_keys() -> None:
    assert [row[0] for row in _table("Reports")] == list(content())
