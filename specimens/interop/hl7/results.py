"""Results out: ORU^R01 (HL7 v2.5.1 chapter 7.3.1), or OUL^R22 in the style of an analyser (7.3.7).

Built from the frozen content of a report alone. Preliminary is P, final F, corrected C, in OBR-25
and in each OBX-11; what a corrected report no longer says is deleted (D), or it would stay behind
at the receiver.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from specimens.interop.channels import OutgoingReport
from specimens.interop.hl7.acknowledgements import VERSION
from specimens.interop.hl7.message import Row, Value
from specimens.interop.hl7.observations import Observation, observations, pdf_observation
from specimens.interop.hl7.timestamps import write_date, write_time

STATUS: Final = {"preliminary": "P", "final": "F", "corrected": "C"}
# ORC-5, table 0038: some results are there, or all of them.
_ORDER_STATUS: Final = {"P": "A", "F": "CM", "C": "CM"}
_DELETED: Final = "D"
ORU: Final = "ORU^R01"
OUL: Final = "OUL^R22"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How a receiver wants to be told; the defaults are those of a new destination.

    Attributes:
        details: also counts and 95% limits, each an OBX of its own, under local codes.
        pdf: also the signed report as PDF.
    """

    message: str = ORU
    sending_application: str = "WBCLAB"
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    processing_id: str = "P"
    details: bool = True
    pdf: bool = False


def result_rows(report: OutgoingReport, wording: Wording) -> list[Row]:
    """Return the segments of the message about `report`."""
    content = report.content
    status = STATUS[report.event]
    found = [*observations(content, report.codes, details=wording.details)]
    deleted = _no_longer(found, report, wording) if status == "C" else []
    lines = [(one, status) for one in found] + [(one, _DELETED) for one in deleted]
    if wording.pdf and content.get("signature"):
        lines.append((pdf_observation(report.pdf()), status))
    head = [_header(report, wording), _patient(content["patient"])]
    orc, obr = _order(content, status), _request(report, status)
    obx = [_obx(number, one, content, report, letter)
           for number, (one, letter) in enumerate(lines, start=1)]  # fmt: skip
    notes, spm = _notes(content), _specimen(content["specimen"])
    if wording.message == OUL:
        return [*head, spm, obr, orc, *notes, *obx]
    return [*head, orc, obr, *notes, *obx, spm]


def _no_longer(
    found: list[Observation], report: OutgoingReport, wording: Wording
) -> list[Observation]:
    """What the version before said, and this one does not."""
    if report.previous is None:
        return []
    said = {(one.code, one.sub_id) for one in found}
    before = observations(report.previous, report.codes, details=wording.details)
    return [one for one in before if (one.code, one.sub_id) not in said]


def _header(report: OutgoingReport, wording: Wording) -> Row:
    kind, _, event = wording.message.partition("^")
    fields: dict[int, Value] = {
        3: wording.sending_application,
        4: wording.sending_facility,
        5: wording.receiving_application,
        6: wording.receiving_facility,
        7: write_time(report.created_at),
        9: (kind, event, f"{kind}_{event}"),
        10: report.message_id,
        11: wording.processing_id,
        12: VERSION,
    }
    return "MSH", fields


def _patient(patient: Mapping[str, Any]) -> Row:
    number = (patient["identifier"], "", "", patient["issuer"], "MR" if patient["issuer"] else "")
    name = (patient["family_name"], patient["given_name"], "", "", "", "", "L")
    born = write_date(patient["birth_date"])
    return "PID", {1: "1", 3: number, 5: name, 7: born, 8: patient["sex"]}


def _numbers(content: Mapping[str, Any]) -> dict[int, Value]:
    """Placer and filler number, as the hospital wrote them; ours where it gave none."""
    specimen = content["specimen"]
    reference = specimen.get("reference") or {}
    placer = (specimen["placer_number"], *reference.get("placer_assigner", ()))
    own = specimen.get("filler_number") or specimen["accession_number"]
    filler = (own, *reference.get("filler_assigner", ()))
    return {2: placer if specimen["placer_number"] else "", 3: filler}


def _order(content: Mapping[str, Any], status: str) -> Row:
    requester = content["specimen"]["requester"]
    return "ORC", {
        1: "RE",
        **_numbers(content),
        5: _ORDER_STATUS[status],
        12: ("", requester) if requester else "",
    }


def _request(report: OutgoingReport, status: str) -> Row:
    content = report.content
    specimen, signature = content["specimen"], content.get("signature") or {}
    panel = report.codes.panel
    ordered = (specimen.get("reference") or {}).get("test")
    fields: dict[int, Value] = {
        1: "1",
        **_numbers(content),
        4: tuple(ordered) if ordered else (panel.code, panel.display, panel.scheme),
        7: write_time(specimen["collected_at"]),
        13: specimen["clinical_information"],
        14: write_time(specimen["received_at"]),
        16: ("", specimen["requester"]) if specimen["requester"] else "",
        22: write_time(signature.get("at") or report.created_at),
        24: "HM",
        25: status,
    }
    if specimen["priority"] == "stat":
        fields[27] = ("", "", "", "", "", "S")
    if signature:
        fields[32] = ((signature["username"], signature["name"]),)
    return "OBR", fields


def _obx(
    number: int,
    one: Observation,
    content: Mapping[str, Any],
    report: OutgoingReport,
    status: str,
) -> Row:
    signature = content.get("signature") or {}
    method = report.codes.method if signature else report.codes.method_unverified
    models = content["models"]
    fields: dict[int, Value] = {
        1: str(number),
        2: one.kind,
        3: (one.code.code, one.code.display, one.code.scheme),
        4: one.sub_id,
        5: "" if status == _DELETED else one.value,
        6: (one.unit, "", "UCUM") if one.unit else "",
        7: "" if status == _DELETED else one.reference_range,
        8: "" if status == _DELETED else one.flag,
        11: status,
        14: write_time(content["specimen"]["collected_at"] or content["specimen"]["received_at"]),
        16: (signature["username"], signature["name"]) if signature else "",
        17: (method.code, method.display, method.scheme),
        18: [f"{m['name']} {m['version']}" for m in models],
        19: write_time(signature.get("at") or report.created_at),
    }
    return "OBX", fields


def _notes(content: Mapping[str, Any]) -> list[Row]:
    """Comments, why it was amended, what was bypassed, who was told, and what it is good for."""
    texts = [f"{c['text']} ({c['author']})" for c in content["comments"]]
    if content["amendment_reason"]:
        texts.insert(0, f"Corrected report: {content['amendment_reason']}")
    texts += [f"{passed['text']} Bypassed: {passed['reason']}" for passed in content["bypassed"]]
    told = content["critical_values_told"]
    texts += [f"Critical value of {key.replace('_', ' ')} told: {who}" for key, who in told.items()]
    if content["specimen"]["is_synthetic"]:
        texts.append("Synthetic specimen: no patient.")
    if content.get("limitation"):
        texts.append(content["limitation"])
    return [("NTE", {1: str(n), 2: "L", 3: text}) for n, text in enumerate(texts, start=1)]


def _specimen(specimen: Mapping[str, Any]) -> Row:
    return "SPM", {
        1: "1",
        2: ("", specimen["accession_number"]),
        4: ("BLD", "Whole blood", "HL70487"),
        17: (write_time(specimen["collected_at"]),),
        18: write_time(specimen["received_at"]),
    }
