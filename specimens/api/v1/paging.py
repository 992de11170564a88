"""Lists by cursor: a page stays where it is while others add rows in front of it."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from specimens.api.problems import invalid

M = TypeVar("M", bound=Model)

DEFAULT_LIMIT: Final = 50
MOST: Final = 200
_POSITION: Final = re.compile(r"(older|newer)-(\d{1,18})")


class PageQuery(serializers.Serializer[Any]):
    """Every list takes these beside its filters."""

    limit = serializers.IntegerField(
        min_value=1, max_value=MOST, default=DEFAULT_LIMIT, help_text="Rows of one page."
    )
    cursor = serializers.CharField(
        required=False, max_length=100, help_text="Of `next` or `previous`; opaque."
    )


@dataclass(frozen=True, slots=True)
class Position:
    """Rows older than `pk`, or newer ones; without a pk from the newest on."""

    pk: int | None = None
    newer: bool = False

    @classmethod
    def parse(cls, cursor: str | None) -> "Position":
        """Read a cursor; raises 400 for one that was not ours."""
        if not cursor:
            return cls()
        try:
            text = base64.urlsafe_b64decode(cursor.encode("ascii")).decode("ascii")
        except (binascii.Error, UnicodeError, ValueError):
            text = ""
        match = _POSITION.fullmatch(text)
        if match is None:
            raise invalid({"cursor": "Not a cursor of a list: take it from `next` or `previous`."})
        return cls(int(match[2]), match[1] == "newer")

    def __str__(self) -> str:
        text = f"{'newer' if self.newer else 'older'}-{self.pk}"
        return base64.urlsafe_b64encode(text.encode()).decode()


def page(
    request: Request,
    rows: "QuerySet[M]",
    query: dict[str, Any],
    bodies: Callable[[Sequence[M]], list[dict[str, Any]]],
) -> Response:
    """Answer one page of `rows`, the newest first, with the addresses of its neighbours."""
    position, limit = Position.parse(query.get("cursor")), query["limit"]
    chosen, more = _chosen(rows, position, limit)
    newer = bool(chosen) and (more if position.newer else position.pk is not None)
    older = bool(chosen) and (True if position.newer else more)
    address = request.build_absolute_uri()
    neighbours = {
        "next": Position(chosen[-1].pk) if older else None,
        "previous": Position(chosen[0].pk, newer=True) if newer else None,
    }
    links = {
        name: replace_query_param(address, "cursor", str(at)) if at else None
        for name, at in neighbours.items()
    }
    response = Response({**links, "results": bodies(chosen)})
    rels = {"next": "next", "previous": "prev"}
    if header := ", ".join(f'<{url}>; rel="{rels[n]}"' for n, url in links.items() if url):
        response["Link"] = header
    return response


def _chosen(rows: "QuerySet[M]", position: Position, limit: int) -> tuple[list[M], bool]:
    """Return the rows of the page, the newest first, and whether more lie beyond."""
    if position.newer:
        nearest = list(rows.filter(pk__gt=position.pk).order_by("pk")[: limit + 1])
        return nearest[:limit][::-1], len(nearest) > limit
    if position.pk is not None:
        rows = rows.filter(pk__lt=position.pk)
    following = list(rows.order_by("-pk")[: limit + 1])
    return following[:limit], len(following) > limit
