"""QIDO-RS (PS3.18 section 10.6): the query of an address, and rows as DICOM JSON (annex F)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

Level = Literal["study", "series", "instance"]
LEVELS: Final[tuple[Level, ...]] = ("study", "series", "instance")
DEFAULT_LIMIT: Final = 200
LARGEST_LIMIT: Final = 1000
DICOM_JSON: Final = "application/dicom+json"
_LONGEST_KEY: Final = 400


class BadQuery(Exception):
    """A query that cannot be read; the text says what is wrong."""


class Attribute(NamedTuple):
    """An attribute that can be asked for: `name` is that of specimens.dicom.attributes."""

    tag: str
    keyword: str
    vr: str
    name: str
    level: Level
    is_default: bool = True


# PS3.18 tables 10.6.1-5 and 10.6.3-3 to -5, as far as it is kept beside the files.
ATTRIBUTES: Final = (
    Attribute("00080020", "StudyDate", "DA", "study_date", "study"),
    Attribute("00080030", "StudyTime", "TM", "study_time", "study"),
    Attribute("00080050", "AccessionNumber", "SH", "accession_number", "study"),
    Attribute("00081030", "StudyDescription", "LO", "study_description", "study", False),
    Attribute("00100010", "PatientName", "PN", "patient_name", "study"),
    Attribute("00100020", "PatientID", "LO", "patient_id", "study"),
    Attribute("00100021", "IssuerOfPatientID", "LO", "patient_issuer", "study", False),
    Attribute("00100030", "PatientBirthDate", "DA", "patient_birth_date", "study"),
    Attribute("00100040", "PatientSex", "CS", "patient_sex", "study"),
    Attribute("0020000D", "StudyInstanceUID", "UI", "study_instance_uid", "study"),
    Attribute("00200010", "StudyID", "SH", "study_id", "study"),
    Attribute("00080061", "ModalitiesInStudy", "CS", "modality", "study"),
    Attribute("00080060", "Modality", "CS", "modality", "series"),
    Attribute("0020000E", "SeriesInstanceUID", "UI", "series_instance_uid", "series"),
    Attribute("00200011", "SeriesNumber", "IS", "series_number", "series"),
    Attribute("00080016", "SOPClassUID", "UI", "sop_class_uid", "instance"),
    Attribute("00080018", "SOPInstanceUID", "UI", "sop_instance_uid", "instance"),
    Attribute("00200013", "InstanceNumber", "IS", "instance_number", "instance"),
    Attribute("00280008", "NumberOfFrames", "IS", "number_of_frames", "instance"),
    Attribute("00280010", "Rows", "US", "rows", "instance"),
    Attribute("00280011", "Columns", "US", "columns", "instance"),
    Attribute("00400512", "ContainerIdentifier", "LO", "container_identifier", "instance", False),
)
_BY_NAME: Final = {one.tag: one for one in ATTRIBUTES} | {one.keyword: one for one in ATTRIBUTES}
_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}")


@dataclass(slots=True)
class Query:
    """What is asked for.

    Attributes:
        matching: text to match by attribute, each for one value, a list of UIDs, a range of dates
            or a pattern with * and ?.
        included: tags asked for beyond the usual ones.
        warnings: what was asked for and is not done (Warning header, PS3.18 section 10.6.1).
    """

    level: Level
    matching: dict[Attribute, str] = field(default_factory=dict)
    included: set[str] = field(default_factory=set)
    include_all: bool = False
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    warnings: list[str] = field(default_factory=list)


def parse_query(parameters: Iterable[tuple[str, str]], level: Level) -> Query:
    """Read the parameters of a search.

    Raises:
        BadQuery: a number that is none, or a value far too long.
    """
    query = Query(level)
    ignored = []
    for name, value in parameters:
        if len(value) > _LONGEST_KEY:
            raise BadQuery(f"The value of {name[:60]} is too long.")
        attribute = _BY_NAME.get(name.upper() if _TAG.fullmatch(name) else name)
        if name in ("limit", "offset"):
            setattr(query, name, _number(name, value))
        elif name == "fuzzymatching":
            if value == "true":
                query.warnings.append(
                    "The fuzzymatching parameter is not supported. Only literal matching has been "
                    "performed."
                )
        elif name == "includefield":
            _include(query, value)
        elif attribute is None:
            ignored.append(name[:40])
        elif value not in ("", "*"):
            query.matching[attribute] = value
    if ignored:
        names = ", ".join(re.sub(r"[^\w.]", "?", one) for one in ignored[:10])
        query.warnings.append(f"Not matched, since it is not kept here: {names}.")
    query.limit = min(query.limit, LARGEST_LIMIT)
    return query


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdecimal() or len(value) > 9:
        raise BadQuery(f"{name} is not a number: {value[:40]!r}.")
    return int(value)


def _include(query: Query, value: str) -> None:
    for one in value.split(","):
        known = _BY_NAME.get(one.upper() if _TAG.fullmatch(one) else one)
        if one == "all":
            query.include_all = True
        elif known is not None:
            query.included.add(known.tag)


class Condition(NamedTuple):
    """How one attribute is matched (PS3.4 section C.2.2.2)."""

    kind: Literal["one_of", "range", "pattern", "equal"]
    values: tuple[str, ...]


def condition_of(attribute: Attribute, value: str) -> Condition:
    """Read the value of a matching key: UID list, date or time range, wildcards, single value.

    Raises:
        BadQuery: a range of dates that is none.
    """
    if attribute.vr == "UI":
        return Condition("one_of", tuple(one for one in re.split(r"[,\\]", value) if one))
    if attribute.vr in ("DA", "TM") and "-" in value:
        first, _, last = value.partition("-")
        if not all(re.fullmatch(r"[0-9.]*", end) for end in (first, last)):
            raise BadQuery(f"{attribute.keyword} is no range: {value[:40]!r}.")
        return Condition("range", (first, last))
    if "*" in value or "?" in value:
        wild = re.sub(r"\*+", "*", value)
        translated = {"*": ".*", "?": "."}
        pattern = "".join(translated.get(one) or re.escape(one) for one in wild)
        return Condition("pattern", (f"^{pattern}$",))
    return Condition("equal", (value,))


def json_value(vr: str, value: Any) -> dict[str, Any]:
    """Return one attribute in DICOM JSON (PS3.18 section F.2.2)."""
    if value in (None, "", []):
        return {"vr": vr}
    values: Sequence[Any] = value if isinstance(value, list) else [value]
    if vr == "PN":
        return {"vr": vr, "Value": [{"Alphabetic": one} for one in values]}
    if vr in ("IS", "US"):
        numbers = [int(one) for one in values if str(one).strip().lstrip("+-").isdecimal()]
        return {"vr": vr, "Value": numbers} if numbers else {"vr": vr}
    return {"vr": vr, "Value": list(values)}


def json_row(query: Query, values: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return one result: the attributes of its level and those above, and `extra` ones by tag."""
    row: dict[str, Any] = {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}}
    depth = LEVELS.index(query.level)
    for attribute in ATTRIBUTES:
        if LEVELS.index(attribute.level) > depth or attribute.keyword == "ModalitiesInStudy":
            continue
        usual = attribute.is_default and (
            attribute.level == query.level or attribute.vr == "UI" or query.level == "study"
        )
        asked = attribute.tag in query.included or attribute in query.matching
        if usual or asked or query.include_all:
            row[attribute.tag] = json_value(attribute.vr, values.get(attribute.name))
    return dict(sorted((row | dict(extra)).items()))
