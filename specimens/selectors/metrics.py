"""Figures of the laboratory for Prometheus, read when it asks.

Each query walks an index over what is open or recent, so that it costs the same at ten million
cells: a scrape comes every few seconds. Counters of workers come with their heartbeats.
"""

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import DatabaseError
from django.db.models import Count, Max, Min
from django.utils import timezone
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from classifier.models import ModelVersion
from specimens.models import (
    AssociationLog,
    AuditEvent,
    DelivererHeartbeat,
    Delivery,
    Destination,
    DicomInstance,
    InboundMessage,
    Job,
    OperationRun,
    Site,
    WorkerHeartbeat,
)
from specimens.selectors import clock
from specimens.selectors.health import silence_limit

RECENT: Final = timedelta(minutes=5)
_BATCH_BOUNDS: Final = ("1", "2", "4", "8", "16", "32", "64", "128", "+Inf")


class DatabaseCollector(Collector):
    """Everything that stands in the database; where that is away, only that it is."""

    def collect(self) -> Iterator[Metric]:
        """Yield the figures as they are now."""
        try:
            found = [metric for part in _PARTS for metric in part()]
        except DatabaseError:
            found = []
        up = GaugeMetricFamily("wbclab_database_up", "1: the database answered this scrape.")
        up.add_metric([], 1 if found else 0)
        yield up
        yield from found
        yield _disk()


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"wbclab_{name}", text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(f"wbclab_{name}", text, labels=labels)


def _age(moment: datetime | None) -> float:
    return (timezone.now() - moment).total_seconds() if moment else 0.0


def _disk() -> Metric:
    """Tell what room is left where images go; nothing where they do not lie on a disk."""
    free = _gauge("images_free_bytes", "Free space of the file system of the image store.")
    try:
        folder = Path(default_storage.path(""))
        free.add_metric([], shutil.disk_usage(folder if folder.exists() else settings.HOME).free)
    except (NotImplementedError, OSError):
        pass
    return free


def _queue() -> Iterator[Metric]:
    """Depth and age by lane, counted no further than the limit of the queue."""
    depth = _gauge("jobs_queued", "Images that wait, at most the queue's limit.", "lane")
    age = _gauge("jobs_oldest_seconds", "Age of the oldest waiting image.", "lane")
    queued = Job.objects.filter(state=Job.State.QUEUED)
    # Ordered as the indexes of fresh and of retried images are.
    fresh = queued.filter(attempts=0).order_by("priority", "turn", "id")
    lanes = {urgency.name.lower(): fresh.filter(priority=urgency) for urgency in Job.Urgency}
    lanes["retried"] = queued.filter(attempts__gt=0).order_by("priority", "id")
    for lane, waiting in lanes.items():
        found = waiting[: settings.QUEUE_LIMIT].aggregate(n=Count("pk"), oldest=Min("created_at"))
        depth.add_metric([lane], found["n"])
        age.add_metric([lane], _age(found["oldest"]))
    running = _gauge("jobs_running", "Images in the hands of workers.")
    running.add_metric([], Job.objects.filter(state=Job.State.RUNNING).count())
    ended = _gauge("jobs_ended_last_minute", "Images that ended within a minute.", "outcome")
    since = timezone.now() - timedelta(minutes=1)
    recent = Job.objects.filter(state__in=[Job.State.DONE, Job.State.FAILED])
    counts = _counts(recent.filter(finished_at__gte=since))
    for state in (Job.State.DONE, Job.State.FAILED):
        ended.add_metric([state.value], counts.get(state.value, 0))
    yield from (depth, age, running, ended)


def _counts(rows: Any) -> dict[str, int]:
    return dict(rows.order_by().values_list("state").annotate(Count("pk")))


def _workers() -> Iterator[Metric]:
    living = clock.now() - silence_limit()
    alive = _gauge("workers_alive", "Workers that gave a sign of life lately.")
    seen = _gauge("worker_seen_timestamp_seconds", "Last sign of life.", "worker", "engine")
    sums = {
        "images": _counter("worker_images", "Images classified.", "worker"),
        "abstained": _counter("worker_abstained", "Images the model did not decide.", "worker"),
        "out_of_distribution": _counter(
            "worker_out_of_distribution", "Images unlike what the model knows.", "worker"
        ),
        "seconds": _counter("worker_busy_seconds", "Time spent on batches.", "worker"),
        "engine_seconds": _counter("worker_engine_seconds", "Time in the engine.", "worker"),
    }
    failures = _counter("worker_failures", "Images that failed, by reason.", "worker", "code")
    sizes = HistogramMetricFamily(
        "wbclab_worker_batch_images", "Images a batch.", labels=["worker"]
    )
    beats = list(WorkerHeartbeat.objects.all())
    for beat in beats:
        seen.add_metric([beat.worker, beat.engine], beat.seen_at.timestamp())
        for name, family in sums.items():
            family.add_metric([beat.worker], beat.counters.get(name, 0))
        for code, count in beat.counters.get("failures", {}).items():
            failures.add_metric([beat.worker, code], count)
        _add_sizes(sizes, beat)
    alive.add_metric([], sum(beat.seen_at >= living for beat in beats))
    yield from (alive, seen, *sums.values(), failures, sizes)


def _add_sizes(sizes: HistogramMetricFamily, beat: WorkerHeartbeat) -> None:
    counted, buckets = 0, []
    for bound in _BATCH_BOUNDS:
        counted += beat.counters.get("sizes", {}).get(bound, 0)
        buckets.append((bound, float(counted)))
    sizes.add_metric([beat.worker], buckets, sum_value=beat.counters.get("batched", 0))


def _deliveries() -> Iterator[Metric]:
    count = _gauge("deliveries_open", "Deliveries that have not arrived, by state.", "state")
    age = _gauge("deliveries_oldest_seconds", "Age of the oldest of them.", "state")
    rows = Delivery.objects.filter(state__in=Delivery.OPEN).order_by()
    found = {
        state: (number, oldest)
        for state, number, oldest in rows.values_list("state").annotate(
            Count("pk"), Min("created_at")
        )
    }
    for state in Delivery.OPEN:
        number, oldest = found.get(state.value, (0, None))
        count.add_metric([state.value], number)
        age.add_metric([state.value], _age(oldest))
    away = _gauge("destination_unreachable_seconds", "How long it has not answered.", "destination")
    unreachable = _gauge("destinations_unreachable", "Destinations that do not answer.")
    silent = Destination.objects.filter(active=True, unreachable_since__isnull=False)
    since = list(silent.values_list("pk", "unreachable_since"))
    for pk, moment in since:
        away.add_metric([str(pk)], _age(moment))
    unreachable.add_metric([], len(since))
    yield from (count, age, unreachable, away, *_deliverers())


def _deliverers() -> Iterator[Metric]:
    living = clock.now() - silence_limit()
    alive = _gauge("deliverers_alive", "Deliverers that gave a sign of life lately.")
    tries = _counter("deliverer_attempts", "Tries to deliver, by outcome.", "worker", "outcome")
    beats = list(DelivererHeartbeat.objects.all())
    for beat in beats:
        for outcome in ("delivered", "failed"):
            tries.add_metric([beat.worker, outcome], beat.counters.get(outcome, 0))
    alive.add_metric([], sum(beat.seen_at >= living for beat in beats))
    yield from (alive, tries)


def _exchange() -> Iterator[Metric]:
    """DICOM and HL7: what came in the last minutes, and what waits for a person."""
    since = timezone.now() - RECENT
    associations = _gauge(
        "dicom_associations_last_five_minutes", "Associations begun lately, by state.", "state"
    )
    counts = _counts(AssociationLog.objects.filter(started_at__gte=since))
    for state in AssociationLog.State:
        associations.add_metric([state.value], counts.get(state.value, 0))
    waiting = _gauge("dicom_waiting", "DICOM objects that wait for a person.")
    unclear = [DicomInstance.State.UNMATCHED, DicomInstance.State.QUARANTINED]
    waiting.add_metric([], DicomInstance.objects.filter(state__in=unclear).count())
    messages = _gauge("hl7_messages_last_five_minutes", "Messages taken lately, by state.", "state")
    # By site, because that is how they are indexed.
    sites = list(Site.objects.values_list("pk", flat=True))
    counts = _counts(InboundMessage.objects.filter(site__in=sites, received_at__gte=since))
    for kind in InboundMessage.State:
        messages.add_metric([kind.value], counts.get(kind.value, 0))
    held = _gauge("hl7_messages_held", "Messages that wait for a person.")
    held.add_metric([], InboundMessage.objects.filter(state=InboundMessage.State.HELD).count())
    yield from (associations, waiting, messages, held)


def _operation() -> Iterator[Metric]:
    last = _gauge("operation_timestamp_seconds", "Newest run of a command.", "operation", "outcome")
    runs = OperationRun.objects.order_by().values_list("operation", "ok")
    for operation, ok, moment in runs.annotate(Max("finished_at")):
        last.add_metric([operation, "succeeded" if ok else "failed"], moment.timestamp())
    events = _counter("audit_events", "Length of the audit chain.")
    newest = AuditEvent.objects.order_by("-sequence").values_list("sequence", flat=True).first()
    events.add_metric([], newest or 0)
    info = _gauge("build_info", "Software and active model.", "version", "model")
    model = ModelVersion.objects.filter(is_active=True).only("name", "version").first()
    info.add_metric([settings.SOFTWARE_VERSION, str(model or "")], 1)
    yield from (last, events, info)


_PARTS: Final = (_queue, _workers, _deliveries, _exchange, _operation)
