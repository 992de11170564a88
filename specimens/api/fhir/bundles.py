"""Search results and histories as Bundles (R4, bundle)."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from specimens.api.fhir.outcomes import issue, outcome
from specimens.api.fhir.queries import Query
from specimens.interop.fhir.wire import Resource, without_empty
from specimens.selectors.fhir_search import Found, Page

MATCH: Final = "match"
INCLUDE: Final = "include"


def searchset(page: Page, query: Query, url: str, base: str) -> Resource:
    """Return one page; `url` is the address of the search without its query."""
    entries = [_entry(found, base, MATCH) for found in page.matches]
    entries += [_entry(found, base, INCLUDE) for found in page.included]
    if query.ignored:
        entries.append({"resource": _warning(query.ignored), "search": {"mode": "outcome"}})
    links = [{"relation": "self", "url": query.link(url)}]
    if page.following:
        links.append({"relation": "next", "url": query.link(url, page.following)})
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": page.total, "link": links}
    return without_empty(bundle) | ({"entry": entries} if entries else {})


def total(number: int, query: Query, url: str) -> Resource:
    """Return the Bundle of a search that only counts."""
    bundle: Resource = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": number,
        "link": [{"relation": "self", "url": query.link(url)}],
    }
    if query.ignored:
        bundle["entry"] = [{"resource": _warning(query.ignored), "search": {"mode": "outcome"}}]
    return bundle


def history(found: Iterable[Found], base: str, url: str) -> Resource:
    """Return the versions of one resource, the newest first."""
    entries = [_version(one.resource, base) for one in found]
    return {
        "resourceType": "Bundle",
        "type": "history",
        "total": len(entries),
        "link": [{"relation": "self", "url": url}],
        "entry": entries,
    }


def _version(resource: Mapping[str, Any], base: str) -> dict[str, Any]:
    name, meta = f"{resource['resourceType']}/{resource['id']}", resource["meta"]
    is_first = meta["versionId"] == "1" or not meta["versionId"].isdecimal()
    return {
        "fullUrl": base + name,
        "resource": resource,
        "request": {"method": "POST" if is_first else "PUT", "url": name},
        "response": {
            "status": "201" if is_first else "200",
            "etag": f'W/"{meta["versionId"]}"',
            "lastModified": meta["lastUpdated"],
        },
    }


def _entry(found: Found, base: str, mode: str) -> dict[str, Any]:
    return {
        "fullUrl": base + found.name,
        "resource": found.resource,
        "search": {"mode": mode},
    }


def _warning(ignored: Iterable[str]) -> Resource:
    text = (
        f"Ignored, for nothing here knows it: {', '.join(ignored)}. "
        "With “Prefer: handling=strict” it is refused instead."
    )
    return outcome([issue("not-supported", text, severity="warning")])
