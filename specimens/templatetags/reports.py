"""How reports write limits and recorded times."""

from django import template

from specimens.documents.sheet import clock, range_text
from specimens.selectors.case import JudgedValue

register = template.Library()


@register.filter
def reference(judged: JudgedValue | None) -> str:
    """Normal limits as a range; nothing where the value was not judged."""
    if judged is None:
        return ""
    low, high = judged.limits.low, judged.limits.high
    return range_text(None if low is None else str(low), None if high is None else str(high))


@register.filter
def recorded_clock(moment: str) -> str:
    """A time of a frozen content, in the laboratory's zone."""
    return clock(moment)
