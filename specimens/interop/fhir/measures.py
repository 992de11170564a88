"""The single values of a report's content, in the order they are reported. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from specimens.interop.fhir.case import Content
from specimens.terminology import Quantity

ARTEFACT: Final = "artefact"  # counted to account for every image; says nothing of the patient


@dataclass(frozen=True, slots=True)
class Measure:
    """One value: `value` is a decimal as text, None where it cannot be given.

    `count`, `lower`, `upper` stand beside a percentage (cells; 95% limits in per cent).
    """

    quantity: str
    key: str = ""
    value: str | None = None
    count: int | None = None
    lower: float | None = None
    upper: float | None = None
    reference: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> tuple[str, str]:
        return self.quantity, self.key


def measures(content: Content) -> list[Measure]:
    """Return the values of `content`; none before a white cell is counted."""
    return list(_measures(content)) if content["counted"] else []


def _measures(content: Content) -> Iterator[Measure]:
    yield Measure(Quantity.CELLS_COUNTED, value=str(content["counted"]))
    wbc_count = content["specimen"]["wbc_count"]
    if wbc_count is not None:
        yield Measure(Quantity.WBC_COUNT, value=wbc_count)
    for row in content["differential"]:
        limits = row["reference"].get("percent", {})
        yield Measure(
            Quantity.PERCENT,
            row["key"],
            row["percent"],
            row["count"],
            row["lower"],
            row["upper"],
            limits,
        )
        if row["absolute"] is not None:
            limits = row["reference"].get("absolute", {})
            yield Measure(Quantity.ABSOLUTE, row["key"], row["absolute"], reference=limits)
    for other in content["non_wbc"]:
        if other["key"] != ARTEFACT:
            per_100 = other["per_100_wbc"]
            yield Measure(Quantity.PER_100_WBC, other["key"], per_100, other["count"])


def changed_names(before: Content, after: Content) -> set[tuple[str, str]]:
    """Name the values of `after` that `before` did not have, or had otherwise."""
    earlier = {one.name: one for one in measures(before)}
    return {one.name for one in measures(after) if earlier.get(one.name) != one}


def retracted(contents: tuple[Content, ...], current: Content) -> list[Measure]:
    """Values an earlier version gave and `current` does not any more, as they last were."""
    last = {one.name: one for content in contents for one in measures(content)}
    held = {one.name for one in measures(current)}
    return [one for name, one in last.items() if name not in held]
