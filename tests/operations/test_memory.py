"""What serving processes hold: 250 MB at most, and nothing of what others are for."""

import random
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any, Final

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.test import Client
from django.urls import reverse
from PIL import Image

from bench.processes import Process
from specimens.models import Job
from specimens.services.imaging import add_cell_images
from tests.api.production import production
from tests.factories import Cast, upload
from tests.processes import descendants, free_port, wait_until

MEBIBYTE: Final = 1024**2
IMAGES: Final = 64
ALSO: Final = ("sweeper", "deliverer", "hl7-listener", "dicom-listener")
# Libraries with machine code, which a process maps when it loads them.
LEFT_ALONE: Final = {
    "web": {"tensorflow", "onnxruntime"},
    "worker": {"tensorflow"},
    "decoder": {"tensorflow", "onnxruntime", "psycopg_binary"},
    "sweeper": {"tensorflow", "onnxruntime", "numpy", "PIL"},
    "deliverer": {"tensorflow", "onnxruntime", "numpy", "PIL"},
    "hl7-listener": {"tensorflow", "onnxruntime", "numpy", "PIL"},
    "dicom-listener": {"tensorflow", "onnxruntime"},
}


def _loaded(pid: int) -> set[str]:
    """Packages of which a process has mapped a library."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return set(re.findall(r"/site-packages/(\w+?)(?:\.libs)?/", maps))


@pytest.mark.postgres
@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_what_serving_processes_hold(cast: Cast, settings: Any, tmp_path: Path) -> None:
    environment = {
        "WBCLAB_BATCH_SIZE": str(IMAGES),
        "WBCLAB_ENGINE_THREADS": "4",
        "WBCLAB_HL7_PORT": str(free_port()),
        "WBCLAB_DICOM_PORT": str(free_port()),
        "WBCLAB_DICOM_PEERS": "SCANNER=main",
    }
    with production(tmp_path, settings, also=ALSO, **environment) as service:
        for first in (0, 1):  # the second time with what the first has left
            pictures = [upload(2 * c + first, f"{first}-{c}.png") for c in range(IMAGES)]
            add_cell_images(actor=cast.technician, site=cast.site, specimen=None, uploads=pictures)
            wait_until(
                lambda: not Job.objects.exclude(state="done").exists(), 60, "all are classified"
            )
        roots = service.processes
        held = {role: [pid, *descendants(pid)] for role, pid in roots.items()}
        held["decoder"] = descendants(roots["worker"])
        held["worker"] = [roots["worker"]]
        for role, pids in held.items():
            for pid in pids:
                peak = Process(role, pid).memory
                assert 0 < peak < 250 * MEBIBYTE, f"{role}: {peak // MEBIBYTE} MB"
                assert not LEFT_ALONE[role] & _loaded(pid), role
        assert "numpy" in _loaded(roots["worker"]), "the test sees what is loaded"


_SIGN_INS: Final = """
import sys
import threading
from pathlib import Path
from django.conf import settings
settings.configure(PASSWORD_HASHERS=["wbclab.passwords.BoundedArgon2"])
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) // 1024

stored = make_password("a long password")
if sys.argv[1] == "old":
    stored = Argon2PasswordHasher().encode("a long password", "salt-of-some-length")
before, right = peak(), []
threads = [
    threading.Thread(target=lambda: right.append(check_password("a long password", stored)))
    for _ in range(8)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert right == [True] * 8
print(peak() - before)
"""


@pytest.mark.parametrize("hashes", ["old", "new"])
def test_passwords_are_checked_one_at_a_time(hashes: str) -> None:
    """Eight at once cost the memory of one: 100 MB for an old hash, 19 MB for one of ours.

    Nor do eight threads keep what the check of a new one has freed.
    """
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", _SIGN_INS, hashes]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    # What the first hash took, before the first look, is no growth.
    assert int(done.stdout) < 60


@pytest.mark.django_db
def test_an_upload_is_read_piece_by_piece(cast: Cast) -> None:
    """Large uploads are on disk: several at once must not be in memory nevertheless."""
    side = 1800
    noise = random.Random(1).randbytes(3 * side**2)
    large = TemporaryUploadedFile("cell.tif", "image/tiff", 3 * side**2, None)
    Image.frombytes("RGB", (side, side), noise).save(large, "TIFF")
    large.seek(0)
    tracemalloc.start()
    try:
        (answer,) = add_cell_images(
            actor=cast.technician, site=cast.site, specimen=None, uploads=[large]
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        large.close()
    assert answer.status == "accepted"
    assert peak < 2 * MEBIBYTE


@pytest.mark.django_db
def test_an_older_hash_is_replaced_at_sign_in(cast: Cast, client: Client, settings: Any) -> None:
    settings.PASSWORD_HASHERS = ["wbclab.passwords.BoundedArgon2"]
    person = cast.technician
    person.password = Argon2PasswordHasher().encode(
        "correct horse battery", "a-salt-of-22-characters"
    )
    person.save()
    sent = {"username": person.username, "password": "correct horse battery"}
    assert client.post(reverse("login"), sent).status_code == 302
    person.refresh_from_db()
    assert "$m=19456,t=2,p=1$" in person.password
    assert client.post(reverse("login"), sent).status_code == 302
