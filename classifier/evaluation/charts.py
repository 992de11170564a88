"""Charts as SVG, in a few lines of our own: a serving installation carries no plotting library.

Ink is `currentColor`, so that a chart follows the light or dark page it stands in. Each function
returns an `<svg>` element; `standalone` makes a file of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from classifier.classes import PREDICTED_CLASSES
from classifier.evaluation.metrics import Floats, Ints

_NAMES = tuple(cell.name for cell in PREDICTED_CLASSES)
# Okabe and Ito's palette: distinguishable with the common forms of colour blindness.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a")
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_WIDTH, _HEIGHT = 520, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 16, 34, 50

_STANDALONE_STYLE = (
    "<style>svg{color:#1f2328;background:#fff}"
    "@media (prefers-color-scheme:dark){svg{color:#e6edf3;background:#0d1117}}</style>"
)

Point = tuple[float, float]


def standalone(chart: str) -> str:
    """The chart as the text of a file."""
    head, _, rest = chart.partition(">")
    return f'{head} xmlns="http://www.w3.org/2000/svg">{_STANDALONE_STYLE}{rest}\n'


class _Plot:
    """Axes with ticks, and what is drawn into them, in the order of the calls."""

    def __init__(
        self, title: str, x: tuple[str, float, float], y: tuple[str, float, float]
    ) -> None:
        self.x_label, self.x_low, self.x_high = x
        self.y_label, self.y_low, self.y_high = y
        self.title = title
        self.parts: list[str] = []
        self.legend: list[tuple[str, str, str]] = []
        self.legend_corner = "top right"

    def at(self, x: float, y: float) -> Point:
        across = (x - self.x_low) / (self.x_high - self.x_low)
        up = (y - self.y_low) / (self.y_high - self.y_low)
        return (
            _LEFT + min(max(across, 0.0), 1.0) * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - min(max(up, 0.0), 1.0) * (_HEIGHT - _TOP - _BOTTOM),
        )

    def line(self, points: Sequence[Point], colour: str, dash: str = "", label: str = "") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*point) for point in points))
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8" '
            f'stroke-dasharray="{dash}"/>'
        )
        if label:
            self.legend.append((label, colour, dash))

    def dot(self, point: Point, radius: float, colour: str, note: str) -> None:
        x, y = self.at(*point)
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" '
            f'fill-opacity="0.75"><title>{escape(note)}</title></circle>'
        )

    def svg(self, description: str) -> str:
        return _svg(
            self.title,
            description,
            (_WIDTH, _HEIGHT),
            [*self._axes(), *self.parts, *self._legend()],
        )

    def _axes(self) -> list[str]:
        left, bottom = self.at(self.x_low, self.y_low)
        right, top = self.at(self.x_high, self.y_high)
        parts = [_text(self.title, (_WIDTH / 2, 20), "middle", bold=True)]
        for value in _ticks(self.x_low, self.x_high):
            x, _ = self.at(value, self.y_low)
            parts.append(_rule((x, bottom), (x, top), 0.12))
            parts.append(_text(_number(value), (x, bottom + 17), "middle"))
        for value in _ticks(self.y_low, self.y_high):
            _, y = self.at(self.x_low, value)
            parts.append(_rule((left, y), (right, y), 0.12))
            parts.append(_text(_number(value), (left - 7, y + 4), "end"))
        parts += [_rule((left, bottom), (right, bottom)), _rule((left, bottom), (left, top))]
        parts.append(_text(self.x_label, ((left + right) / 2, _HEIGHT - 12), "middle"))
        middle = (top + bottom) / 2
        parts.append(_text(self.y_label, (15, middle), "middle", turned=True))
        return parts

    def _legend(self) -> list[str]:
        parts = []
        width = 44 + 6.6 * max((len(label) for label, *_ in self.legend), default=0)
        left = _WIDTH - _RIGHT - width if "right" in self.legend_corner else _LEFT + 12
        first = _TOP + 14
        if "bottom" in self.legend_corner:
            first = _HEIGHT - _BOTTOM - 8 - 17 * (len(self.legend) - 1)
        for row, (label, colour, dash) in enumerate(self.legend):
            y = first + 17 * row
            parts.append(
                f'<line x1="{left:.0f}" y1="{y - 4}" x2="{left + 26:.0f}" y2="{y - 4}" '
                f'stroke="{colour}" stroke-width="2.5" stroke-dasharray="{dash}"/>'
            )
            parts.append(_text(label, (left + 32, y), "start"))
        return parts


def confusion_chart(matrix: Sequence[Sequence[int]], title: str) -> str:
    """Counts; row is the truth, column the prediction; shaded by the share of the true class."""
    counts: Ints = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side, left, top = 76, 118, 66
    size = (left + side * len(_NAMES) + 16, top + side * len(_NAMES) + 16)
    parts = [
        _text(title, (size[0] / 2, 20), "middle", bold=True),
        _text("predicted", (left + side * len(_NAMES) / 2, 40), "middle"),
    ]
    for index, name in enumerate(_NAMES):
        parts.append(_text(name, (left + side * (index + 0.5), 58), "middle"))
        parts.append(_text(name, (left - 8, top + side * (index + 0.5) + 4), "end"))
    for row, column in np.ndindex(*counts.shape):
        x, y = left + side * column, top + side * row
        share = float(shares[row, column])
        parts.append(
            f'<rect x="{x + 1}" y="{y + 1}" width="{side - 2}" height="{side - 2}" '
            f'fill="#0072b2" fill-opacity="{0.04 + 0.8 * share:.2f}" '
            f'stroke="currentColor" stroke-opacity="0.2"/>'
        )
        colour = "#fff" if share > 0.45 else "currentColor"
        middle = (x + side / 2, y + side / 2 + 2)
        parts.append(_text(str(counts[row, column]), middle, "middle", colour=colour, size=15))
        if counts[row].sum():
            below = (x + side / 2, y + side / 2 + 18)
            parts.append(_text(f"{share:.1%}", below, "middle", colour=colour, size=11))
    return _svg(title, "Confusion matrix: rows are the truth.", size, parts)


def reliability_chart(bins: Sequence[Mapping[str, float]], title: str) -> str:
    """Accuracy against confidence; the area of a dot grows with its number of cells."""
    plot = _Plot(title, ("confidence", 0, 1), ("share that is right", 0, 1))
    plot.line([(0, 0), (1, 1)], "currentColor", "2 4")
    total = sum(entry["n"] for entry in bins)
    for entry in bins:
        note = f"{entry['n']:.0f} cells: {entry['accuracy']:.1%} right"
        radius = 3 + 15 * float(np.sqrt(entry["n"] / total))
        plot.dot((entry["confidence"], entry["accuracy"]), radius, _COLOURS[0], note)
    return plot.svg("Reliability: dots on the diagonal are well calibrated.")


def risk_coverage_chart(
    rows: Sequence[Mapping[str, Any]], operating: Point | None, title: str
) -> str:
    """Share of wrong cells among the most certain ones.

    Args:
        rows: of `classifier.evaluation.summary.risk_coverage`.
        operating: coverage and risk of the model's own decision.
    """
    risks = [(row["coverage"], 1.0 - row["value"]) for row in rows]
    highest = max([risk for _, risk in risks] + ([operating[1]] if operating else []))
    plot = _Plot(title, ("coverage", 0, 1), ("share that is wrong", 0, _headroom(highest)))
    plot.legend_corner = "top left"
    plot.line(risks, _COLOURS[1], label="most certain cells first")
    if operating:
        note = f"the model's own decision: {operating[0]:.1%} decided, {operating[1]:.2%} wrong"
        plot.dot(operating, 6, _COLOURS[0], note)
        plot.legend.append(("the model's own decision", _COLOURS[0], ""))
    return plot.svg("Risk and coverage.")


def score_chart(scores: Mapping[str, Floats], threshold: float, title: str) -> str:
    """Distribution of the out-of-distribution score of several groups, as steps."""
    values = [value for value in scores.values() if len(value)]
    top = float(np.quantile(np.concatenate(values), 0.99)) if values else 1.0
    edges = np.linspace(0.0, max(1.15 * top, 1.4 * threshold), 41)
    shares = {
        name: np.histogram(np.minimum(v, edges[-1] * 0.999), edges)[0] / len(v)
        for name, v in scores.items()
        if len(v)
    }
    highest = max((float(share.max()) for share in shares.values()), default=1.0)
    plot = _Plot(
        title, ("score", 0, float(edges[-1])), ("share of the cells", 0, _headroom(highest))
    )
    for index, (name, share) in enumerate(shares.items()):
        points = [
            (float(edge), float(level))
            for start, level in enumerate(share)
            for edge in edges[start : start + 2]
        ]
        plot.line(
            points, _COLOURS[index % len(_COLOURS)], _DASHES[index // len(_COLOURS)], label=name
        )
    plot.line([(threshold, 0), (threshold, plot.y_high)], "currentColor", "3 3", "threshold")
    return plot.svg("Distribution of the out-of-distribution score.")


def curves_chart(rows: Sequence[Mapping[str, float]], title: str) -> str:
    """Accuracy over the epochs of a training, of every set that was followed."""
    names = [
        name
        for name in dict.fromkeys(name for row in rows for name in row)
        if name.endswith("accuracy") and "balanced" not in name
    ]
    lowest = min((row[name] for row in rows for name in names if name in row), default=0.0)
    last = max((row["epoch"] for row in rows), default=1.0)
    low = np.floor(10 * lowest) / 10
    plot = _Plot(title, ("epoch", 0, max(last, 1.0)), ("accuracy", float(min(low, 0.9)), 1.0))
    plot.legend_corner = "bottom right"
    for index, name in enumerate(names):
        label = "training, augmented" if name == "accuracy" else name.removesuffix(" accuracy")
        points = [(row["epoch"], row[name]) for row in rows if name in row]
        plot.line(points, _COLOURS[index % len(_COLOURS)], _DASHES[name == "accuracy"], label)
    return plot.svg("Learning curves.")


def _svg(title: str, description: str, size: tuple[float, float], parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" width="{size[0]:.0f}" role="img" '
        f'aria-label="{escape(title)}. {escape(description)}" '
        f'font-family="system-ui, sans-serif" font-size="12">{"".join(parts)}</svg>'
    )


def _text(
    text: str,
    place: Point,
    anchor: str,
    *,
    bold: bool = False,
    turned: bool = False,
    colour: str = "currentColor",
    size: int = 12,
) -> str:
    x, y = place
    more = ' font-weight="600"' if bold else ""
    more += f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-size="{size}"{more}>{escape(text)}</text>'
    )


def _rule(start: Point, end: Point, opacity: float = 0.6) -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="currentColor" stroke-opacity="{opacity}"/>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers."""
    raw = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(min((1, 2, 5, 10), key=lambda factor: abs(factor * power - raw)) * power)
    first = int(np.ceil(low / step - 1e-9))
    return [index * step for index in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def _number(value: float) -> str:
    return f"{value:.4g}"


def _headroom(highest: float) -> float:
    return max(0.01, 1.15 * highest)
