"""A web server with cases to review: cells drawn and classified in advance, so no worker is needed.

Run as a program (`python -m tests.browser.bench_service`) it fills the database at WBCLAB_HOME and
prints what is in it; the tests start that and the server as processes of their own, because Django
refuses its database to a thread that Playwright's loop runs in.
"""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from tests.homes import migrated_home
from tests.processes import die_with_parent, end, free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a long and winding phrase"
PEOPLE = [
    ("technician", "technician", "Tess", "Nichols"),
    ("pathologist", "pathologist", "Paula", "Thorne"),
    ("second", "pathologist", "Samuel", "Okafor"),
    ("administrator", "administrator", "Ada", "Lind"),
]
MIX = {"Neutrophil": 116, "Lymphocyte": 56, "Monocyte": 14, "Eosinophil": 9, "Basophil": 2}
CASES = [
    # accession, cells of the mix times this, family name, priority, WBC count
    ("R-200", 1, "Lindqvist", "stat", "7.20"),
    ("R-200b", 1, "Bergström", "routine", "4.10"),
    ("R-500", 2.5, "Costa", "routine", None),
    ("R-SMALL", 0.2, "Dupont", "routine", "31.40"),
    ("R-READ", 0.2, "Eze", "routine", "5.50"),
    ("R-PAIR", 0.2, "Fischer", "stat", "6.00"),
]


@dataclass(frozen=True)
class BenchService:
    url: str
    cases: dict[str, int]

    def path(self, accession: str) -> str:
        return f"/specimens/{self.cases[accession]}/review"


@contextmanager
def bench_service(home: Path, *, cases: bool = True, **more: str) -> Iterator[BenchService]:
    """Serve the cases, or people alone, from `home` until the block ends; `more` is environment."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WBCLAB_")}
    environment |= {"WBCLAB_HOME": str(home), "DJANGO_SETTINGS_MODULE": "wbclab.settings"}
    environment |= more
    migrated_home(home)
    filled = subprocess.run(
        [sys.executable, "-m", "tests.browser.bench_service", *([] if cases else ["people"])],
        cwd=ROOT, env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    made = json.loads(filled.stdout.splitlines()[-1])
    command = [sys.executable, "-m", "uvicorn", "wbclab.asgi:application", "--port", str(port)]
    with (home / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--no-access-log", "--log-level", "warning"],
            cwd=ROOT, env=environment, stdout=log, stderr=log,
            preexec_fn=die_with_parent(signal.SIGTERM),
        )  # fmt: skip
        try:
            wait_until(lambda: _answers(f"{url}/login"), 60, "the web server")
            yield BenchService(url, made)
        finally:
            end(process, signal.SIGTERM, 10)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def fill() -> dict[str, int]:
    """Create people and cases; return the ids of the cases by accession number."""
    import django

    django.setup()
    from django.utils import timezone

    from classifier.models import ModelVersion
    from specimens.models import Order, Patient, Site, Specimen, User, WorkerHeartbeat
    from specimens.services.review_queue import refresh_flags

    site = Site.objects.create(code="main", name="City Hospital, Haematology")
    for username, role, given_name, family_name in PEOPLE:
        user = User.objects.create_user(
            username, password=PASSWORD, role=role, first_name=given_name, last_name=family_name
        )
        user.sites.add(site)
    version = ModelVersion.objects.create(
        name="dm-fnet", version="1.0", digest="d" * 64, is_active=True,
        metadata={"abstain": {"confidence_threshold": 0.8}, "ood": {"threshold": 1.3}},
    )  # fmt: skip
    now = timezone.now()
    WorkerHeartbeat.objects.create(  # of the hour to come: nobody needs to start a worker
        worker="drawn", engine="none", model_digest="d" * 64, started_at=now,
        seen_at=now + timedelta(hours=1),
    )  # fmt: skip
    pictures = _pictures()
    technician = User.objects.get(username="technician")
    made = {}
    wanted = [] if "people" in sys.argv else CASES
    for number, (accession, times, name, priority, wbc) in enumerate(wanted):
        patient = Patient.objects.create(
            site=site, identifier=f"P{number}", family_name=name, given_name="Maja", sex="F",
            birth_date=date(1961, 4, 17),
        )  # fmt: skip
        now = timezone.now()
        order = Order.objects.create(
            site=site, patient=patient, priority=priority, ordered_at=now, requester="Ward 4B"
        )
        specimen = Specimen.objects.create(
            site=site, order=order, accession_number=accession, is_synthetic=True,
            wbc_count=wbc and Decimal(wbc),
            received_at=now - timedelta(minutes=37 + 55 * number),
            accessioned_by=technician, state=Specimen.State.PRECLASSIFIED,
        )  # fmt: skip
        _add_cells(specimen, version, pictures, times)
        refresh_flags(specimen=specimen)
        made[accession] = specimen.pk
    return made


def _pictures() -> dict[str, list[str]]:
    """Draw and store forty cells; each is the file of several cell images."""
    import io

    from django.core.files.base import ContentFile
    from django.core.files.storage import default_storage

    from classifier.synthetic import draw_cells, save_jpeg

    kinds = {"Neutrophil": 14, "Lymphocyte": 10, "Monocyte": 6, "Eosinophil": 6, "Basophil": 4}
    stored: dict[str, list[str]] = {kind: [] for kind in kinds}
    for kind, image in draw_cells(seed=20, counts=kinds):
        content = io.BytesIO()
        save_jpeg(image, content)
        name = default_storage.save(f"cells/{kind}.jpg", ContentFile(content.getvalue()))
        default_storage.save(f"{name}.thumb.jpg", ContentFile(content.getvalue()))
        stored[kind].append(name)
    return stored


def _add_cells(specimen: Any, version: Any, pictures: dict[str, list[str]], times: float) -> None:
    from specimens.models import CellImage, Job, Prediction

    chance = random.Random(specimen.pk)
    kinds = [kind for kind, count in MIX.items() for _ in range(max(1, round(count * times)))]
    kinds += ["Monocyte"] * max(2, round(3 * times))
    chance.shuffle(kinds)
    abstained = set(chance.sample(range(len(kinds)), max(2, round(3 * times))))
    images = CellImage.objects.bulk_create(
        _image(specimen, number, chance.choice(pictures[kind])) for number, kind in enumerate(kinds)
    )
    Prediction.objects.bulk_create(
        _prediction(image, version, kind, chance, abstains=number in abstained)
        for number, (image, kind) in enumerate(zip(images, kinds, strict=True))
    )
    Job.objects.bulk_create(
        Job(cell_image=image, site=image.site, specimen=image.specimen, state=Job.State.DONE)
        for image in images
    )


def _image(specimen: Any, number: int, file: str) -> Any:
    from specimens.models import CellImage

    name = f"{specimen.accession_number}-{number + 1:03}.jpg"
    return CellImage(
        site=specimen.site, specimen=specimen, filename=name, media_type="image/jpeg", file=file,
        sha256=hashlib.sha256(name.encode()).hexdigest(), size=4000, width=128, height=128,
        source=CellImage.Source.DEMO, is_synthetic=True,
    )  # fmt: skip


def _prediction(
    image: Any, version: Any, kind: str, chance: random.Random, *, abstains: bool
) -> Any:
    from classifier.classes import CELL_CLASSES
    from specimens.models import Prediction

    confidence = chance.uniform(0.45, 0.79) if abstains else chance.uniform(0.81, 0.999)
    rest = [0 if one == kind else chance.random() for one in CELL_CLASSES]
    scale = (1 - confidence) / sum(rest)
    return Prediction(
        cell_image=image, model_version=version, predicted_class=kind,
        decision="Unidentified" if abstains else kind,
        reasons=["low_confidence"] if abstains else [], confidence=confidence,
        probabilities=[
            confidence if one == kind else share * scale
            for one, share in zip(CELL_CLASSES, rest, strict=True)
        ],
        ood_score=chance.uniform(0.4, 1.1), embedding=b"\0" * 512, explanation=_bump(chance),
        engine="onnxruntime", milliseconds=3.4,
    )  # fmt: skip


def _bump(chance: random.Random) -> bytes:
    """Draw an explanation map with one hill, somewhere near the middle."""
    x, y = chance.uniform(5, 10), chance.uniform(5, 10)
    square = [(i % 16 - x) ** 2 + (i // 16 - y) ** 2 for i in range(256)]
    return bytes(int(255 * 2.718 ** (-d / 14)) for d in square)


if __name__ == "__main__":
    print(json.dumps(fill()))  # noqa: T201
