"""A report as it is read, on screen and on paper: the frozen content put into words and lengths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from django.utils import timezone

from classifier.classes import CLASS_BY_KEY
from specimens.documents.changes import Change
from specimens.reference import Flag

METHOD: Final = (
    "Image-based, model-assisted differential; every cell verified by a person. 95 % limits are "
    "exact (Clopper-Pearson) and stand for the counting error only."
)
FLAGS: Final = "L low, H high, LL critically low, HH critically high."
SEXES: Final = {"F": "female", "M": "male", "O": "other", "U": "not recorded"}
# The axis of the bars ends at the first of these that holds every upper limit.
_SCALES: Final = (20, 40, 60, 80, 100)


@dataclass(frozen=True, slots=True)
class VersionLine:
    """One version of the report: `pk` to open it, and who signed it when."""

    pk: int
    version: int
    signer: str
    signed_at: datetime


@dataclass(frozen=True, slots=True)
class SheetRow:
    """One class. Lengths are shares 0..1 of the width of the bars; texts are ready to print."""

    key: str
    name: str
    code: str
    count: int
    percent: str
    limits: str
    percent_flag: str
    percent_reference: str
    absolute: str
    absolute_flag: str
    absolute_reference: str
    bar: float
    whisker_from: float
    whisker_to: float


@dataclass(frozen=True, slots=True)
class Sheet:
    """Everything a reader sees of one version; `content` is the frozen report itself."""

    content: Mapping[str, Any]
    sha256: str
    rows: tuple[SheetRow, ...]
    scale: int
    changes: tuple[Change, ...]
    versions: tuple[VersionLine, ...]

    @property
    def version(self) -> int:
        return int(self.content["version"])

    @property
    def superseded_by(self) -> VersionLine | None:
        """The newest version, where that is not this one."""
        newest = max(self.versions, key=lambda line: line.version)
        return newest if newest.version > self.version else None

    @property
    def title(self) -> str:
        if self.version == 1:
            return "White-blood-cell differential"
        return f"White-blood-cell differential, amended (version {self.version})"

    @property
    def patient_name(self) -> str:
        patient = self.content["patient"]
        return ", ".join(part for part in (patient["family_name"], patient["given_name"]) if part)

    @property
    def has_absolutes(self) -> bool:
        return any(row.absolute for row in self.rows)

    @property
    def signed_at(self) -> str:
        return clock(self.content["signature"]["at"])

    def patient_lines(self) -> list[tuple[str, str]]:
        patient = self.content["patient"]
        number = patient["identifier"]
        if patient["issuer"]:
            number = f"{number} ({patient['issuer']})"
        return [
            ("Patient", self.patient_name),
            ("Number", number),
            ("Born", _birth(self.content)),
            ("Sex", SEXES.get(patient["sex"], patient["sex"])),
        ]

    def specimen_lines(self) -> list[tuple[str, str]]:
        specimen = self.content["specimen"]
        wbc_count = specimen["wbc_count"]
        lines = [
            ("Accession", specimen["accession_number"]),
            ("Order", specimen["placer_number"]),
            ("Requester", specimen["requester"]),
            ("Clinical", specimen["clinical_information"]),
            ("Collected", clock(specimen["collected_at"]) or "not recorded"),
            ("Received", clock(specimen["received_at"])),
            ("WBC", f"{wbc_count} × 10⁹/L" if wbc_count is not None else "not given"),
        ]
        return [line for line in lines if line[1]]

    def other_cells(self) -> list[str]:
        """Cells outside the denominator, a phrase each."""
        return [
            f"{other['name']}: "
            + (f"{other['per_100_wbc']} per 100 WBC " if other["per_100_wbc"] else "")
            + f"(n = {other['count']})"
            for other in self.content["non_wbc"]
        ]

    def told(self) -> list[str]:
        return [
            f"{CLASS_BY_KEY[key].name}: {text}"
            for key, text in self.content["critical_values_told"].items()
        ]

    def sources(self) -> list[str]:
        """Where the limits come from, each source once, and what they were chosen by."""
        judged = [j for row in self.content["differential"] for j in row["reference"].values()]
        found = list(dict.fromkeys(j["source"] for j in judged))
        if found and self.content["patient"]["age_in_days"] is None:
            found.append("birth date not recorded: limits of adults")
        return found

    def models(self) -> list[str]:
        return [
            f"{model['name']} {model['version']} ({model['digest'][:12]})"
            for model in self.content["models"]
        ]


def sheet_of(
    content: Mapping[str, Any],
    *,
    sha256: str,
    changes: Sequence[Change] = (),
    versions: Sequence[VersionLine] = (),
) -> Sheet:
    """Put the content of one version into words; `changes` are those since the version before."""
    rows = content["differential"]
    widest = max((row["upper"] for row in rows), default=100.0)
    scale = next((limit for limit in _SCALES if widest <= limit), 100)
    return Sheet(
        content=content,
        sha256=sha256,
        rows=tuple(_row(row, scale) for row in rows),
        scale=scale,
        changes=tuple(changes),
        versions=tuple(versions),
    )


def clock(moment: str | None) -> str:
    """A recorded time in the laboratory's zone, which is named."""
    if not moment:
        return ""
    return f"{timezone.localtime(datetime.fromisoformat(moment)):%Y-%m-%d %H:%M %Z}"


def _row(row: Mapping[str, Any], scale: int) -> SheetRow:
    percent, absolute = (row["reference"].get(name, {}) for name in ("percent", "absolute"))
    return SheetRow(
        key=row["key"],
        name=row["name"],
        code=row["code"],
        count=row["count"],
        percent=row["percent"],
        limits=f"{row['lower']:.1f}–{row['upper']:.1f}",
        percent_flag=_flag(percent),
        percent_reference=_range(percent),
        absolute=row["absolute"] or "",
        absolute_flag=_flag(absolute),
        absolute_reference=_range(absolute),
        bar=float(row["percent"]) / scale,
        whisker_from=row["lower"] / scale,
        whisker_to=min(1.0, row["upper"] / scale),
    )


def _flag(judged: Mapping[str, Any]) -> str:
    """L, H, LL or HH; nothing where the value is normal or was not judged."""
    flag = Flag(judged.get("flag", Flag.NORMAL))
    return "" if flag is Flag.NORMAL else flag.letter


def _range(judged: Mapping[str, Any]) -> str:
    return range_text(judged.get("low"), judged.get("high"))


def range_text(low: str | None, high: str | None) -> str:
    """Limits as a person writes them: 40–80, ≤ 2, ≥ 0.5; empty where there are none."""
    low, high = _short(low), _short(high)
    if low and high:
        return f"{low}–{high}"
    return f"≤ {high}" if high else f"≥ {low}" if low else ""


def _short(limit: str | None) -> str:
    """A limit without the zeros that the database adds: 40.00 is 40, 0.50 is 0.5."""
    if limit is None:
        return ""
    return limit.rstrip("0").rstrip(".") if "." in limit else limit


def _birth(content: Mapping[str, Any]) -> str:
    """The birth date with the age on the day of collection."""
    patient, specimen = content["patient"], content["specimen"]
    if not patient["birth_date"]:
        return "not recorded"
    days = patient["age_in_days"]
    if days < 60:
        return f"{patient['birth_date']} ({days} days)"
    born = date.fromisoformat(patient["birth_date"])
    taken = datetime.fromisoformat(specimen["collected_at"] or specimen["received_at"])
    day = timezone.localdate(taken)
    months = 12 * (day.year - born.year) + day.month - born.month - (day.day < born.day)
    age = f"{months} months" if months < 24 else f"{months // 12} years"
    return f"{patient['birth_date']} ({age})"
