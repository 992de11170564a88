"""What DICOMweb finds and fetches: the instances kept here, of the sites of who asks."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from django.db.models import CharField, Count, Min, Q, QuerySet, Value
from django.db.models.fields.json import KT
from django.db.models.functions import Coalesce

from specimens.dicom.dicomweb import Attribute, Query, condition_of, json_row, json_value
from specimens.models import DicomInstance, User
from specimens.permissions import visible_to

# Attributes that are columns; the others lie in `identifiers`.
_COLUMNS = {
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "number_of_frames",
    "rows",
    "columns",
}
_KEPT = (DicomInstance.State.MATCHED, DicomInstance.State.UNMATCHED)


def stored_instances(
    user: User, study: str = "", series: str = "", instance: str = ""
) -> QuerySet[DicomInstance]:
    """Instances of the person's sites that are neither in quarantine nor put aside.

    One that came to two sites is two rows: `distinct_by_uid` leaves the first.
    """
    found = visible_to(user, DicomInstance).filter(state__in=_KEPT, conflicts_with__isnull=True)
    wanted = {
        "study_instance_uid": study,
        "series_instance_uid": series,
        "sop_instance_uid": instance,
    }
    return found.filter(**{name: uid for name, uid in wanted.items() if uid}).order_by("pk")


def distinct_by_uid(found: QuerySet[DicomInstance]) -> list[DicomInstance]:
    """The instances, each UID once, in the order they came."""
    by_uid: dict[str, DicomInstance] = {}
    for row in found:
        by_uid.setdefault(row.sop_instance_uid, row)
    return list(by_uid.values())


def search(
    user: User, query: Query, study: str, series: str, wado_root: str
) -> tuple[list[dict[str, Any]], bool, list[DicomInstance]]:
    """Return the results of a search as DICOM JSON, whether there are more, and a row of each.

    Raises:
        BadQuery: a value that cannot be matched.
    """
    found = stored_instances(user, study, series)
    for attribute, value in query.matching.items():
        found = _matched(found, attribute, value)
    column = {
        "study": "study_instance_uid",
        "series": "series_instance_uid",
        "instance": "sop_instance_uid",
    }[query.level]
    groups = (
        found.order_by()
        .values(column)
        .annotate(
            first=Min("pk"),
            instances=Count("sop_instance_uid", distinct=True),
            series=Count("series_instance_uid", distinct=True),
        )
        .order_by("-first")
    )
    page = list(groups[query.offset : query.offset + query.limit + 1])
    more, page = len(page) > query.limit, page[: query.limit]
    rows = DicomInstance.objects.in_bulk([group["first"] for group in page])
    derived = _derived(query, user, wado_root, [rows[group["first"]] for group in page])
    results = [
        json_row(query, values_of(rows[group["first"]]), derived(rows[group["first"]], group))
        for group in page
    ]
    return results, more, [rows[group["first"]] for group in page]


def values_of(row: DicomInstance) -> dict[str, Any]:
    """Return what is known of an instance, by the names of specimens.dicom.attributes."""
    return dict(row.identifiers) | {name: getattr(row, name) for name in _COLUMNS}


def _matched(
    found: QuerySet[DicomInstance], attribute: Attribute, value: str
) -> QuerySet[DicomInstance]:
    condition = condition_of(attribute, value)
    name = attribute.name
    if name not in _COLUMNS:
        name = f"kept_{attribute.name}"
        text = Coalesce(KT(f"identifiers__{attribute.name}"), Value(""), output_field=CharField())
        found = found.annotate(**{name: text})
    if condition.kind == "one_of":
        return found.filter(**{f"{name}__in": condition.values})
    if condition.kind == "range":
        first, last = condition.values
        # A day's or second's own text sorts before everything more exact that starts with it.
        within = Q(**{f"{name}__gte": first}) & ~Q(**{name: ""})
        return found.filter(within & Q(**{f"{name}__lte": last + "~"}) if last else within)
    if condition.kind == "pattern":
        return found.filter(**{f"{name}__iregex": condition.values[0]})
    (wanted,) = condition.values
    if attribute.vr in ("US", "IS") and name in _COLUMNS:
        number = int(wanted) if wanted.isascii() and wanted.isdecimal() and len(wanted) < 9 else -1
        return found.filter(**{name: number})
    return found.filter(**{f"{name}__iexact" if attribute.vr == "PN" else name: wanted})


def _derived(
    query: Query, user: User, wado_root: str, rows: list[DicomInstance]
) -> Callable[[DicomInstance, dict[str, Any]], dict[str, Any]]:
    """Return what makes the attributes that are counted or built: addresses, numbers of objects."""
    modalities: dict[str, list[str]] = defaultdict(list)
    if query.level == "study":
        studies = {row.study_instance_uid for row in rows}
        pairs = (
            stored_instances(user)
            .filter(study_instance_uid__in=studies)
            .order_by("study_instance_uid")
            .values_list("study_instance_uid", KT("identifiers__modality"))
            .distinct()
        )
        for study, modality in pairs:
            if modality:
                modalities[study].append(modality)

    def derived(row: DicomInstance, group: dict[str, Any]) -> dict[str, Any]:
        study_url = f"{wado_root}/studies/{row.study_instance_uid}"
        series_url = f"{study_url}/series/{row.series_instance_uid}"
        online = {"00080056": json_value("CS", "ONLINE")}
        if query.level == "study":
            return online | {
                "00080061": json_value("CS", modalities[row.study_instance_uid]),
                "00081190": json_value("UR", study_url),
                "00201206": json_value("IS", group["series"]),
                "00201208": json_value("IS", group["instances"]),
            }
        if query.level == "series":
            counted = {"00201209": json_value("IS", group["instances"])}
            return online | counted | {"00081190": json_value("UR", series_url)}
        return online | {
            "00081190": json_value("UR", f"{series_url}/instances/{row.sop_instance_uid}"),
            "00083002": json_value("UI", row.transfer_syntax_uid),
        }

    return derived
