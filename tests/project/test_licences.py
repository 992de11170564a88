"""Licences of the dependencies: all listed, all looked at, none that does not go with ours."""

import pytest

from scripts.licences import PAGE, is_allowed, packages, page


def test_the_page_is_what_the_lock_files_and_packages_say() -> None:
    assert PAGE.read_text() == page(), "make licences writes it anew"
    listed = {line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if "|" in line}
    # Packages of other platforms are locked, but neither installed nor listed here.
    assert len(set(packages()) - listed) <= 5


@pytest.mark.parametrize(
    ("expression", "goes"),
    [
        ("MIT", True),
        ("MIT AND PSF-2.0", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only", False),
        ("MIT AND AGPL-3.0-or-later", False),
        ("", False),
    ],
)
def test_what_goes_with_ours(expression: str, goes: bool) -> None:
    assert is_allowed(expression) is goes
