"""The model in use: which one, how good, made from what; and the workers that run it."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET

from specimens.models import User
from specimens.selectors.laboratory import WORKER_SILENCE, active_model, queue_depth, workers
from specimens.views.access import for_people


@require_GET
@for_people
def model_page(request: HttpRequest, user: User) -> HttpResponse:
    version = active_model()
    now = timezone.now()
    context = {
        "version": version,
        "metadata": version.metadata if version else {},
        "metrics": metric_tables(version.metadata.get("metrics", {})) if version else [],
        "sources": data_sources(version.metadata) if version else [],
        "workers": [(w, now - w.seen_at <= WORKER_SILENCE) for w in workers()],
        "queue": queue_depth(user),
        "here": "quality",
    }
    return render(request, "quality/page.html", context)


def metric_tables(metrics: Any) -> list[tuple[str, list[tuple[str, Any]]]]:
    """Metrics as named lists of (name, number), whatever data sets the model was measured on."""
    if not isinstance(metrics, dict):
        return []
    loose = [(name, value) for name, value in metrics.items() if not isinstance(value, dict)]
    tables = [("Overall", loose)] if loose else []
    tables += [
        (name, [(key, v) for key, v in value.items() if not isinstance(v, dict | list)])
        for name, value in metrics.items()
        if isinstance(value, dict)
    ]
    return [table for table in tables if table[1]]


def data_sources(metadata: dict[str, Any]) -> list[str]:
    """What the model was trained on and under which licences, a line each."""
    data = metadata.get("data", [])
    if isinstance(data, dict):
        data = [
            {"name": name, **v} if isinstance(v, dict) else f"{name}: {v}"
            for name, v in data.items()
        ]
    if not isinstance(data, list):
        data = [data]
    return [
        ", ".join(f"{value}" for value in one.values() if not isinstance(value, dict | list))
        if isinstance(one, dict)
        else str(one)
        for one in data
    ]
