"""What must be true when everything runs again and the queues are empty. Needs Django set up.

Each check returns what is wrong, one text for each finding, and adds its figures to `figures`.
"""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.db import connection
from django.db.models import Count

from specimens.models import (
    CellImage,
    Delivery,
    DeliveryAttempt,
    DicomInstance,
    InboundMessage,
    Job,
    Prediction,
    Report,
)
from tests.chaos.laboratory import Laboratory
from tests.chaos.ledger import Kind, Ledger
from tests.interop.receivers import first_of_each, versions_by_specimen

Figures = dict[str, Any]
Check = Callable[[Laboratory, Ledger, Figures], list[str]]
# Of one process, as in quiet times (tests/operations/test_memory.py): outages leave nothing behind.
MOST_BYTES: Final = 250 * 1024**2


def queues_are_empty() -> bool:
    """Nothing waits, nothing is being worked on."""
    time.sleep(0.2)
    open_jobs = Job.objects.filter(state__in=["queued", "running"])
    open_deliveries = Delivery.objects.filter(state__in=["due", "running"])
    return not open_jobs.exists() and not open_deliveries.exists()


def _known(kind: Kind) -> Counter[str]:
    """How often the database has what a promise of this kind is known by."""
    rows: Any = {
        "image": CellImage.objects.values_list("sha256", flat=True),
        "instance": DicomInstance.objects.values_list("sop_instance_uid", flat=True),
        "message": InboundMessage.objects.filter(state__in=InboundMessage.TAKEN).values_list(
            "control_id", flat=True
        ),
        "report": Report.objects.values_list("sha256", flat=True),
    }[kind]
    return Counter(rows)


def promises_are_kept(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    """What a sender was told of success for is here once; only a restore may have taken it away."""
    faults = []
    kinds: tuple[Kind, ...] = ("image", "instance", "message", "report")
    for kind in kinds:
        known, promised = _known(kind), ledger.of(kind)
        missing = [promise for promise in promised if not known[promise.key]]
        broken = [promise for promise in missing if not ledger.may_be_lost(promise)]
        figures |= {f"{kind}s promised": len(promised)}
        if missing:
            figures |= {f"{kind}s gone with the backup": len(missing) - len(broken)}
        faults += [f"{kind} {promise.key} was accepted and is not here" for promise in broken]
        faults += [
            f"{kind} {promise.key} is here {known[promise.key]} times"
            for promise in promised
            if known[promise.key] > 1
        ]
    return faults


def each_image_ended_once(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    """Classified once, or failed with a reason a person can read; no lease is left."""
    faults = [f"{job} is still open" for job in Job.objects.exclude(state__in=["done", "failed"])]
    leased = Job.objects.filter(lease_until__isnull=False)
    faults += [f"{job} ended and keeps a lease" for job in leased]
    failed = Job.objects.filter(state="failed")
    faults += [f"{job} failed without a reason" for job in failed.filter(error="")]
    figures |= {"images": CellImage.objects.count(), "failed visibly": failed.count()}
    figures |= {"reasons of failures": dict(Counter(failed.values_list("error_code", flat=True)))}
    counted = CellImage.objects.annotate(
        seen=Count("predictions", distinct=True), asked=Count("jobs", distinct=True)
    )
    for image in counted.exclude(seen=1, asked=1).prefetch_related("jobs"):
        states = [job.state for job in image.jobs.all()]
        if (image.seen, states) != (0, ["failed"]):
            faults.append(f"image {image} has {image.seen} predictions and jobs {states}")
    done = set(Job.objects.filter(state="done").values_list("cell_image_id", flat=True))
    seen = set(Prediction.objects.values_list("cell_image_id", flat=True))
    faults += [f"image {pk}: a prediction, and its job is not done" for pk in seen - done]
    return faults


def each_instance_found_its_specimen(
    lab: Laboratory, ledger: Ledger, figures: Figures
) -> list[str]:
    """Only one whose specimen a restore took away may wait for a person."""
    waiting = DicomInstance.objects.exclude(state=DicomInstance.State.MATCHED)
    figures |= {"instances that wait for a person": waiting.count()}
    return [] if ledger.lost_spans else [f"{one} is {one.state}" for one in waiting]


def each_end_came_once(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    """What the observer in the database saw: each job and delivery ended once, under a lease."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT kind, row_id, was, became, leased FROM chaos_ends ORDER BY id")
        rows = cursor.fetchall()
    times = Counter((kind, row) for kind, row, *_ in rows)
    faults = [f"{kind} {row} ended {n} times" for (kind, row), n in times.items() if n > 1]
    return faults + [
        f"{kind} {row} went from {was} to {became} without a lease"
        for kind, row, was, became, leased in rows
        if was != "running" or not leased
    ]


def each_report_was_delivered(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    """To each destination, in order, told apart by its id, and never without a record."""
    deliveries = Delivery.objects.all()
    faults = [f"{one} of {one.specimen}" for one in deliveries.exclude(state="delivered")]
    reports = Report.objects.count()
    figures |= {"reports": reports}
    for receiver in lab.receivers:
        kind = "hl7" if receiver.kind == "mllp" else receiver.kind
        mine = deliveries.filter(destination__kind=kind)
        if mine.count() != reports:
            faults.append(f"{reports} reports and {mine.count()} deliveries to {kind}")
        faults += _received(receiver.kind, receiver.received(), mine, ledger, figures)
    return faults


def _received(
    kind: str, received: list[dict[str, Any]], mine: Any, ledger: Ledger, figures: Figures
) -> list[str]:
    """Hold what a receiver wrote down against the deliveries to it."""
    kept = first_of_each(received)
    figures |= {f"{kind}: came": len(received), f"{kind}: told apart": len(kept)}
    ids, made = {line["id"] for line in kept}, set(mine.values_list("message_id", flat=True))
    faults = [f"{kind}: {one} never came" for one in made - ids]
    unknown = ids - made
    if unknown and ledger.lost_spans:
        figures |= {f"{kind}: came, its record gone with the backup": len(unknown)}
    elif unknown:
        faults += [f"{kind}: {one} came and is on no record" for one in unknown]
    for specimen, versions in versions_by_specimen(kept).items():
        if versions != sorted(versions):
            faults.append(f"{kind}: {specimen} came in the order {versions}")
    return faults + _unrecorded(kind, received, made, ledger, figures)


def _unrecorded(
    kind: str, received: list[dict[str, Any]], made: set[str], ledger: Ledger, figures: Figures
) -> list[str]:
    """Each coming must be an attempt on record; a restore without the log takes records away."""
    tried = dict(
        DeliveryAttempt.objects.filter(delivery__message_id__in=made)
        .values_list("delivery__message_id")
        .annotate(n=Count("pk"))
    )
    came = Counter(line["id"] for line in received)
    more = [one for one in made if came[one] > tried.get(one, 0)]
    if more and ledger.lost_spans:
        figures |= {f"{kind}: sent again after the restore": len(more)}
        return []
    return [f"{kind}: {one} came {came[one]} times, tried {tried.get(one, 0)}" for one in more]


def the_audit_chain_holds(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    """As an administrator verifies it."""
    done = lab.run("verify_audit")
    figures |= {"audit": done.stdout.split("\n")[0]}
    return [] if done.returncode == 0 else [f"verify_audit: {done.stderr.strip()[-500:]}"]


def no_row_lacks_its_file(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    """Every image and instance has its file, whole; files without rows are counted."""
    root = Path(lab.images.folder)
    rows = list(CellImage.objects.exclude(source="dicom").values_list("file", "size"))
    rows += list(DicomInstance.objects.values_list("file", "size"))
    faults = []
    for name, size in rows:
        path = root / name
        found = path.stat().st_size if path.exists() else -1
        if found != size:
            faults.append(f"{name} has {found} bytes of {size}")
    known = {name for name, _ in rows}
    files = {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and not path.name.endswith(".thumb.jpg") and path.name != "filler"
    }
    figures |= {"files without rows": len(files - known)}
    return faults


def answers_were_fit(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    """Nobody was answered with a bare 500, and who was refused was told when to come again."""
    return list(ledger.offences)


def memory_is_bounded(lab: Laboratory, ledger: Ledger, figures: Figures) -> list[str]:
    peaks = {name: service.peak_bytes for name, service in lab.services.items()}
    figures |= {"peak MB": {name: round(peak / 1024**2) for name, peak in peaks.items()}}
    figures |= {"restarts": {name: one.restarts for name, one in lab.services.items()}}
    return [
        f"{name} had {peak / 1024**2:.0f} MB" for name, peak in peaks.items() if peak > MOST_BYTES
    ]


CHECKS: Final[tuple[Check, ...]] = (
    promises_are_kept,
    each_image_ended_once,
    each_instance_found_its_specimen,
    each_end_came_once,
    each_report_was_delivered,
    the_audit_chain_holds,
    no_row_lacks_its_file,
    answers_were_fit,
    memory_is_bounded,
)
