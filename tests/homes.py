"""Homes of the embedded mode whose database is laid out: once for all tests of a run."""

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A folder of this run (Makefile): the parts of the suite beside each other lay out one home.
SHARED = "WBCLAB_TEST_HOME"


def migrated_home(home: Path) -> Path:
    """Make `home` what `manage.py migrate` and `collectstatic` leave of an empty folder."""
    shutil.copytree(_migrated(), home, dirs_exist_ok=True)
    return home


@cache
def _migrated() -> Path:
    if shared := os.environ.get(SHARED):
        home = Path(shared)
        home.mkdir(exist_ok=True)
        with home.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.fstat(lock.fileno()).st_size:
                _lay_out(home)
                lock.write("laid out")
        return home
    home = Path(tempfile.mkdtemp(prefix="wbclab-migrated-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    _lay_out(home)
    return home


def _lay_out(home: Path) -> None:
    own = {k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
    for command in ("migrate", "collectstatic"):
        subprocess.run(
            [sys.executable, "manage.py", command, "--noinput"],
            cwd=ROOT, env=own | {"WBCLAB_HOME": str(home)},
            check=True, capture_output=True, timeout=300,
        )  # fmt: skip
