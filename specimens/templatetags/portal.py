"""How the pages write times, shares and ages. One place, so that they read alike everywhere."""

import json
from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from specimens.models import AuditEvent, Patient
from specimens.models.patients_orders import Sex

register = template.Library()


@register.filter
def local_time(value: datetime | None) -> SafeString | str:
    """Time of the laboratory's zone; the zone and the full date on hover."""
    if value is None:
        return ""
    local = timezone.localtime(value)
    this_year = local.year == timezone.localtime().year
    text = f"{local:%d %b %H:%M}" if this_year else f"{local:%d %b %Y %H:%M}"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        text,
    )


@register.filter
def percent(value: float | None, places: int = 1) -> str:
    """A share 0..1 as per cent, with the thin no-break space before the sign."""
    return "" if value is None else f"{100 * float(value):.{places}f}\u202f%"


@register.filter
def certainty(value: float) -> str:
    """A confidence in whole per cent; never the 100 % that no model can mean."""
    return ">\u202f99\u202f%" if value >= 0.995 else percent(value, 0)


@register.filter
def demographics(patient: Patient) -> str:
    """Birth date with the age in years, and sex, as far as they are recorded."""
    parts = ["birth date not recorded"]
    if patient.birth_date:
        today = timezone.localdate()
        before = (today.month, today.day) < (patient.birth_date.month, patient.birth_date.day)
        years = today.year - patient.birth_date.year - before
        parts = [f"{patient.birth_date:%Y-%m-%d}, {years} y"]
    if patient.sex != Sex.UNKNOWN:
        parts.append(patient.sex)
    return " · ".join(parts)


@register.filter
def age(value: datetime) -> str:
    """Time since `value` in its two largest units: "3 d 4 h", "2 h 05 min", "7 min"."""
    minutes = max(0, int((timezone.now() - value) / timedelta(minutes=1)))
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{minutes} min"


@register.filter
def words(value: str) -> str:
    """`some_key` as words."""
    return str(value).replace("_", " ").replace(".", " ")


@register.filter
def times_100(value: float) -> str:
    """A share 0..1 as a length in a view box of 100."""
    return f"{100 * float(value):.2f}"


@register.filter
def event_words(event: AuditEvent) -> str:
    """What an audit event says in the timeline; an unknown action is spelled out."""
    details = event.details
    images = details.get("images", 0)
    noun = "image" if images == 1 else "images"
    known = {
        "specimen.accessioned": "Accessioned",
        "specimen.images_added": f"{images} {noun} added",
        "specimen.classified": "Classified by the model",
        "specimen.requeued": f"{images} {noun} queued again",
        "specimen.rejected": f"Rejected: {details.get('reason', '')}",
        "delivery.delivered": f"Sent to {details.get('destination', '')}",
        "delivery.held": f"Not sent to {details.get('destination', '')}: held",
        "delivery.retried": f"To be sent again to {details.get('destination', '')}",
        "delivery.cancelled": f"Not to be sent to {details.get('destination', '')}",
        "delivery.added": f"To be sent to {details.get('destination', '')}",
        "cells.reviewed": f"{len(details.get('changes', ()))} cells reviewed",
    }
    return known.get(event.action, words(event.action.removeprefix("specimen.")).capitalize())


@register.filter
def minutes(value: int) -> str:
    """A span in minutes as people say it: "45 min", "4 h", "1 h 30 min"."""
    hours, rest = divmod(int(value), 60)
    if not hours:
        return f"{rest} min"
    return f"{hours} h {rest} min" if rest else f"{hours} h"


@register.filter
def words_of(value: str) -> list[str]:
    """The words of a text, to loop over in a template."""
    return value.split()


@register.filter
def as_json(value: object) -> str:
    """JSON for a data attribute; the template escapes it like any other text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
