"""Markers that name what a test needs: without it the test is skipped, with the reason.

Where CI=true a missing server or browser is a failure instead (tests/counterparts.py). Labelled
images are no part of the project, so without them the tests on them are skipped everywhere.
"""

import os

import pytest

from tests.counterparts import LABELLED_IMAGES, chromium_path, skip_unless_ci

SERVERS = {"postgres": "WBCLAB_DATABASE_URL", "redis": "WBCLAB_REDIS_URL"}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, variable in SERVERS.items():
        if item.get_closest_marker(marker) and not os.environ.get(variable):
            skip_unless_ci(f"{variable} is not set: make test-postgres starts the servers")
    if item.get_closest_marker("browser"):
        chromium_path()
    if item.get_closest_marker("data") and not (LABELLED_IMAGES / "manifest.csv").is_file():
        pytest.skip(f"no labelled images at {LABELLED_IMAGES} (WBCLAB_DATA)")
