"""/metrics: who gets it, what it costs, and that dashboard and alerts ask for what it has."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from specimens.models import (
    DelivererHeartbeat,
    Destination,
    Job,
    OperationRun,
    Prediction,
    WorkerHeartbeat,
)
from specimens.services.counters import WorkerCounters
from specimens.services.imaging import add_cell_images
from tests.factories import Cast, upload

pytestmark = [pytest.mark.core, pytest.mark.django_db]

MONITORING: Final = Path(__file__).resolve().parents[2] / "monitoring"
TOKEN: Final = "a-token-of-some-length"
WITH_TOKEN: Final = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def scrape(settings: Any, client: Client) -> Any:
    """Return what a scrape answers, by sample name and labels."""
    settings.METRICS_TOKEN = TOKEN

    def ask() -> dict[tuple[str, tuple[str, ...]], float]:
        answer = client.get("/metrics", headers=WITH_TOKEN)
        assert answer.status_code == 200
        return {
            (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }

    return ask


def busy_laboratory(cast: Cast) -> None:
    """A row for everything that is measured."""
    case = cast.specimen()
    uploads = [upload(n) for n in range(3)]
    add_cell_images(actor=cast.technician, site=cast.site, specimen=case, uploads=uploads)
    first = Job.objects.order_by("pk").first()
    assert first
    Job.objects.filter(pk=first.pk).update(state="done", finished_at=timezone.now())
    counters = WorkerCounters()
    fine = Prediction(decision="Neutrophil", reasons=[], milliseconds=5)
    unlike = Prediction(decision="Unidentified", reasons=["out_of_distribution"], milliseconds=5)
    counters.add_batch([fine, fine, unlike], ["damaged"], 0.5)
    now = timezone.now()
    WorkerHeartbeat.objects.create(
        worker="w", engine="onnxruntime", model_digest="d", started_at=now, seen_at=now,
        counters=counters.snapshot(),
    )  # fmt: skip
    DelivererHeartbeat.objects.create(
        worker="d", started_at=now, seen_at=now, counters={"delivered": 2}
    )
    Destination.objects.create(
        site=cast.site, name="LIS", kind="webhook", address="https://x.invalid",
        unreachable_since=now,
    )  # fmt: skip
    for operation in OperationRun.Operation:
        OperationRun.objects.create(operation=operation, ok=True)


def test_it_is_not_there_without_a_token_and_closed_without_the_right_one(
    client: Client, settings: Any, cast: Cast
) -> None:
    client.force_login(cast.administrator)
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404
    settings.METRICS_TOKEN = TOKEN
    for header in ("", TOKEN, "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}"):
        assert client.get("/metrics", headers={"Authorization": header}).status_code == 401
    assert client.get("/metrics", headers=WITH_TOKEN).status_code == 200


def test_the_figures_are_those_of_the_laboratory(cast: Cast, scrape: Any, client: Client) -> None:
    busy_laboratory(cast)
    before = scrape()
    client.post("/login", {"username": "nobody", "password": "wrong"})
    found = scrape()
    expected = {
        ("wbclab_database_up", ()): 1,
        ("wbclab_jobs_queued", ("routine",)): 2,
        ("wbclab_jobs_queued", ("stat",)): 0,
        ("wbclab_jobs_ended_last_minute", ("done",)): 1,
        ("wbclab_workers_alive", ()): 1,
        ("wbclab_worker_images_total", ("w",)): 3,
        ("wbclab_worker_abstained_total", ("w",)): 1,
        ("wbclab_worker_out_of_distribution_total", ("w",)): 1,
        ("wbclab_worker_failures_total", ("damaged", "w")): 1,
        ("wbclab_worker_batch_images_count", ("w",)): 1,
        ("wbclab_worker_batch_images_sum", ("w",)): 4,
        ("wbclab_worker_batch_images_bucket", ("2", "w")): 0,
        ("wbclab_worker_batch_images_bucket", ("4", "w")): 1,
        ("wbclab_deliverer_attempts_total", ("delivered", "d")): 2,
        ("wbclab_destinations_unreachable", ()): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    failures = ("wbclab_sign_in_failures_total", ())
    assert found[failures] == before[failures] + 1
    assert found["wbclab_http_requests_total", ("POST", "200", "login")] >= 1


def test_the_database_away_is_a_figure_and_no_error(
    scrape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    def away() -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr("specimens.selectors.metrics._PARTS", (away,))
    assert scrape()["wbclab_database_up", ()] == 0


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bwbclab_[a-z0-9_]+", text))


def test_dashboard_and_alerts_ask_for_what_is_exported(cast: Cast, scrape: Any) -> None:
    busy_laboratory(cast)
    scrape()
    exported = {name for name, _ in scrape()}
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    shown = names_in(json.dumps([panel.get("targets", []) for panel in dashboard["panels"]]))
    rules = [
        rule
        for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    for rule in rules:
        assert {"alert", "expr", "labels", "annotations"} <= rule.keys()
        assert {"summary", "action"} == rule["annotations"].keys()
        assert rule["labels"]["severity"] in ("page", "ticket")
    asked = {name for rule in rules for name in names_in(rule["expr"])}
    assert len(shown) > 25 and len(asked) > 15
    assert (shown | asked) - exported == set()
    operations = set(re.findall(r'operation=\\?"(\w+)', json.dumps(dashboard) + str(rules)))
    assert operations <= set(OperationRun.Operation.values)
    # What is measured is shown.
    ours = {name for name in exported if name.startswith("wbclab_")}
    parts = ("_created", "_bucket", "_sum", "_count")
    assert {name for name in ours if not name.endswith(parts)} - shown == set()


@pytest.mark.postgres
def test_no_query_of_a_scrape_reads_a_large_table_from_end_to_end(cast: Cast, scrape: Any) -> None:
    busy_laboratory(cast)
    with CaptureQueriesContext(connection) as captured:
        scrape()
    reads = [one["sql"] for one in captured if one["sql"].startswith("SELECT")]
    assert 15 <= len(reads) <= 30
    large = ("job", "cellimage", "prediction", "delivery", "inboundmessage", "dicominstance",
             "auditevent", "associationlog")  # fmt: skip
    with connection.cursor() as cursor:
        # Small tables are read whole by choice; forbidden, what remains has no other way.
        cursor.execute("SET LOCAL enable_seqscan = off")
        for sql in reads:
            cursor.execute(f"EXPLAIN {sql}")
            plan = "\n".join(row[0] for row in cursor.fetchall())
            scanned = re.findall(r"Seq Scan on specimens_(\w+)", plan)
            assert not set(scanned) & set(large), f"{sql}\n{plan}"
