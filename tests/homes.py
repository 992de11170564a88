"""Homes of the embedded mode whose database is laid out: once for all tests of a run."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def migrated_home(home: Path) -> Path:
    """Make `home` what `manage.py migrate` and `collectstatic` leave of an empty folder."""
    shutil.copytree(_migrated(), home, dirs_exist_ok=True)
    return home


@cache
def _migrated() -> Path:
    home = Path(tempfile.mkdtemp(prefix="wbclab-migrated-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    own = {k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
    for command in ("migrate", "collectstatic"):
        subprocess.run(
            [sys.executable, "manage.py", command, "--noinput"],
            cwd=ROOT, env=own | {"WBCLAB_HOME": str(home)},
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
    return home
