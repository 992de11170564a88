"""To which specimen a DICOM object belongs: rules on plain data, never a guess.

The identifiers are looked at from the most to the least specific. What is not unique, or not
known, waits for a person; what contradicts itself or the recorded patient is quarantined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from specimens.dicom.attributes import Attributes


@dataclass(frozen=True, slots=True)
class Candidate:
    """A specimen that one identifier fits, and whose it is."""

    specimen_id: int
    accession_number: str
    patient_identifier: str
    patient_issuer: str = ""
    slide_id: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One identifier of the data set and the specimens of the site that it fits."""

    attribute: str
    value: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of the object.

    Attributes:
        candidate: the specimen, where there is exactly one.
        reason: why it is not matched, for people; empty where it is.
    """

    state: Literal["matched", "unmatched", "quarantined"]
    candidate: Candidate | None = None
    reason: str = ""


def names_specimen(attributes: Attributes) -> bool:
    """Whether the data set says more than whose it is."""
    named = attributes.accession_number, attributes.specimens, attributes.container_identifier
    return any(named)


def issued_here(issuer: str, ours: str) -> bool:
    """Whether a number of `issuer` can be one of the site's (`ours`: separated by commas).

    A site that names no issuers takes every number for its own; so does one for a number that
    names none.
    """
    known = [part.strip().casefold() for part in ours.split(",") if part.strip()]
    return not issuer or not known or issuer.casefold() in known


def same_patient(attributes: Attributes, candidate: Candidate) -> bool:
    """Whether nothing speaks against it; an object without a patient ID does not."""
    if not attributes.patient_id:
        return True
    if attributes.patient_id != candidate.patient_identifier:
        return False
    issuers = {attributes.patient_issuer.casefold(), candidate.patient_issuer.casefold()} - {""}
    return len(issuers) < 2


def decide(attributes: Attributes, steps: Sequence[Step]) -> Decision:
    """Choose among what the steps found, the most specific first.

    Args:
        attributes: of the data set.
        steps: an entry for each identifier the data set holds, the most specific first.
    """
    if not steps:
        text = "It names no accession, specimen, container or patient."
        if names_specimen(attributes):
            text = "Its numbers are of an issuer that is not one of this site's."
        return Decision("unmatched", reason=text)
    found = [step for step in steps if step.candidates]
    if not found:
        named = ", ".join(f"{step.attribute} {step.value}" for step in steps)
        return Decision("unmatched", reason=f"No specimen fits: {named}.")
    left = {one.specimen_id: one for one in found[0].candidates}
    for step in found[1:]:
        agreed = {one.specimen_id: one for one in step.candidates if one.specimen_id in left}
        if not agreed:
            return Decision("quarantined", reason=_contradiction(found[0], step))
        left = {pk: _with_slide(one, left[pk]) for pk, one in agreed.items()}
    if len(left) > 1:
        numbers = _listed([one.accession_number for one in left.values()])
        text = f"{found[0].attribute} {found[0].value} fits {len(left)} specimens: {numbers}."
        return Decision("unmatched", reason=text)
    (candidate,) = left.values()
    if not same_patient(attributes, candidate):
        return Decision("quarantined", candidate, disagreement(attributes, candidate))
    return Decision("matched", candidate)


def disagreement(attributes: Attributes, candidate: Candidate) -> str:
    """In words: whose the data set says it is, and whose the specimen is."""
    theirs = _patient(attributes.patient_id, attributes.patient_issuer)
    ours = _patient(candidate.patient_identifier, candidate.patient_issuer)
    return (
        f"It says patient {theirs}, but specimen {candidate.accession_number} is of patient {ours}."
    )


def contradictions(attributes: Attributes, candidate: Candidate, ours: str) -> list[str]:
    """What of the data set speaks against a specimen a person has chosen; empty: nothing does.

    Args:
        attributes: of the data set.
        candidate: the chosen specimen.
        ours: issuers of the site's accession numbers.
    """
    found = []
    number = attributes.accession_number
    if number and issued_here(attributes.accession_issuer, ours):
        if number != candidate.accession_number:
            found.append(f"It says accession number {number}.")
    elif number:
        found.append(f"It says accession number {number} of {attributes.accession_issuer}.")
    named = [one.value for one in attributes.specimens]
    if named and candidate.accession_number not in named and not number:
        found.append(f"It says specimen {_listed(named)}.")
    if not same_patient(attributes, candidate):
        found.append(disagreement(attributes, candidate))
    return found


def _contradiction(first: Step, second: Step) -> str:
    one = _listed([candidate.accession_number for candidate in first.candidates])
    other = _listed([candidate.accession_number for candidate in second.candidates])
    return (
        f"It contradicts itself: {first.attribute} {first.value} is specimen {one}, "
        f"{second.attribute} {second.value} is specimen {other}."
    )


def _with_slide(one: Candidate, other: Candidate) -> Candidate:
    return one if one.slide_id is not None else other


def _listed(values: Sequence[str]) -> str:
    shown = sorted(set(values))
    return ", ".join(shown[:5]) + (" and more" if len(shown) > 5 else "")


def _patient(identifier: str, issuer: str) -> str:
    return f"{identifier} ({issuer})" if issuer else identifier
