"""Small things that several resources take and show."""

from datetime import UTC, datetime
from typing import Any

from rest_framework import serializers

from specimens.api.problems import invalid
from specimens.models import Site, User
from specimens.permissions import visible_to


def text(longest: int, *, blank: bool = False, **more: Any) -> serializers.CharField:
    """Return a field for text that is required, or else may be empty or left out."""
    if blank:
        more |= {"default": "", "allow_blank": True}
    return serializers.CharField(max_length=longest, **more)


def moment(value: datetime | None) -> str | None:
    """Return a point in time as JSON has it here: ISO 8601 in UTC."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value else None


def own_site(user: User, code: str) -> Site:
    """Return the site of that code; without one, the only site of the account."""
    sites = list(visible_to(user, Site))
    named = [site for site in sites if site.code == code] if code else sites
    if len(named) == 1:
        return named[0]
    if code:
        raise invalid({"site": "You belong to no site of this code."})
    codes = ", ".join(site.code for site in sites)
    raise invalid({"site": f"Name the site: {codes}." if codes else "You belong to no site."})
