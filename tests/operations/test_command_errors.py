"""What a person reads who gives a command wrong arguments, from the shell or from a script."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

_SCRIPT = """
import django
django.setup()
from django.core.management import call_command
call_command("legal_hold", "A1")
"""


@pytest.mark.parametrize("command", [["manage.py", "legal_hold", "A1"], ["-c", _SCRIPT]])
def test_it_names_what_is_missing(command: list[str], tmp_path: Path) -> None:
    environment = os.environ | {
        "DJANGO_SETTINGS_MODULE": "wbclab.settings",
        "WBCLAB_HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, *command],
        cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "the following arguments are required: --site, --actor" in done.stderr
    assert "Traceback" not in done.stderr
