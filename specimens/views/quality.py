"""The model in use: which one, how good, made from what; and the workers that run it."""

from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from specimens.models import User
from specimens.selectors import clock
from specimens.selectors.health import silence_limit
from specimens.selectors.laboratory import active_model, queue_depth, workers
from specimens.templatetags.portal import percent
from specimens.views.access import for_people

LABELS: Final = {
    "n": "Images",
    "cohen_kappa": "Cohen's kappa",
    "macro_f1": "F1, mean of the classes",
    "balanced_accuracy": "Recall, mean of the classes",
    "expected_calibration_error": "Calibration error",
    "expected_calibration_error_before": "Calibration error without the temperature",
}
COEFFICIENTS: Final = ("cohen_kappa", "macro_f1")


@require_GET
@for_people
def model_page(request: HttpRequest, user: User) -> HttpResponse:
    version = active_model()
    now = clock.now()
    context = {
        "version": version,
        "metadata": version.metadata if version else {},
        "metrics": metric_tables(version.metadata.get("metrics", {})) if version else [],
        "sources": data_sources(version.metadata) if version else [],
        "workers": [(w, now - w.seen_at <= silence_limit()) for w in workers()],
        "queue": queue_depth(user),
        "here": "quality",
    }
    return render(request, "quality/page.html", context)


def metric_tables(metrics: Any) -> list[tuple[str, list[tuple[str, str]]]]:
    """Each data set the model was measured on, with its figures as (name, text)."""
    if not isinstance(metrics, dict):
        return []
    tables = []
    for name, figures in metrics.items():
        if isinstance(figures, dict):
            rows = [(_label(key), _figure(key, value)) for key, value in figures.items()]
            tables.append((str(name), [(label, text) for label, text in rows if text]))
    return tables


def data_sources(metadata: dict[str, Any]) -> list[str]:
    """What the model was trained on and under which licences, a line each."""
    sources = metadata.get("data", [])
    if not isinstance(sources, list):
        return []
    return [_source(source) if isinstance(source, dict) else str(source) for source in sources]


def _source(source: dict[str, Any]) -> str:
    # In an order of our own: PostgreSQL keeps none for the keys of a JSON object.
    texts = (
        source.get("name"),
        source.get("licence"),
        source.get("images") and f"{source['images']:,} images",
        source.get("doi") and f"doi {source['doi']}",
    )
    return ", ".join(str(text) for text in texts if text)


def _label(key: str) -> str:
    return LABELS.get(key, key.replace("_", " ").capitalize())


def _figure(key: str, value: Any) -> str:
    """Write a figure: shares in per cent, with their exact 95% limits where those are known."""
    if isinstance(value, dict):
        if not isinstance(value.get("value"), float):
            return ""
        interval = value.get("interval_95")
        limits = f" ({100 * interval[0]:.1f}\u2013{100 * interval[1]:.1f})" if interval else ""
        return f"{percent(value['value'], 2)}{limits}"
    if isinstance(value, float):
        return f"{value:.3f}" if key in COEFFICIENTS else percent(value, 2)
    return f"{value:,}" if isinstance(value, int) else ""
