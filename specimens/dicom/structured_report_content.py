"""The content tree of a structured report: TID 1500 Measurement Report (PS3.16).

One Measurement Group (TID 1501) for the differential as a whole and one for each class: the kind of
cell as the finding, percentage, count and absolute count with UCUM units, 95% limits, reference
range, and the images the cells were seen in.
"""

from collections.abc import Iterable
from typing import Any, Final

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from specimens.dicom import written_values as written
from specimens.dicom.stable_uids import specimen_key, specimen_uid, stable_uid
from specimens.interop.channels import OutgoingReport, SourceInstance
from specimens.interop.codes import Code
from specimens.terminology import Quantity

SCHEME: Final = "99WBCLAB"
MANUFACTURER: Final = "wbclab"
TITLE: Final = codes.DCM.ImagingMeasurementReport
_HAS_PROPERTIES: Final = sr.RelationshipTypeValues.HAS_PROPERTIES
_CONTAINS: Final = sr.RelationshipTypeValues.CONTAINS
_LEUKOCYTE: Final = sr.CodedConcept("52501007", "SCT", "Leukocyte")
_BLOOD_SPECIMEN: Final = sr.CodedConcept("119297000", "SCT", "Blood specimen")
_COMMENT: Final = sr.CodedConcept("121106", "DCM", "Comment")
_QUALITATIVE: Final = sr.CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
_NORMALITY: Final = {
    "normal": codes.cid222.Normal,
    "low": codes.cid222.AbnormallyLow,
    "high": codes.cid222.AbnormallyHigh,
    "critical_low": codes.cid222.AbnormallyLow,
    "critical_high": codes.cid222.AbnormallyHigh,
}
# Texts that stand under names of our own, by their code.
_OWN_TEXTS: Final = {
    "limitation": "Limitation of use",
    "amendment-reason": "Reason for the amendment",
    "bypass": "Bypassed obstacle of the sign-out",
    "critical-value-told": "Critical value told to",
    "signature-meaning": "Meaning of the signature",
}


def measurement_report(report: OutgoingReport) -> sr.MeasurementReport:
    """Return the root container. Raises PermanentFailure where an identifier does not fit."""
    tree = sr.MeasurementReport(
        observation_context=_observation_context(report),
        procedure_reported=_concept(report.codes.panel),
        imaging_measurements=[_whole(report), *_classes(report), *_other_cells(report)],
        title=TITLE,
    )
    tree[0].ContentSequence.append(_evaluations(report.content))
    return tree


def own_code(code: str, meaning: str) -> sr.CodedConcept:
    """Return a code of the private scheme."""
    return sr.CodedConcept(code, SCHEME, meaning)


def _concept(code: Code) -> sr.CodedConcept:
    return sr.CodedConcept(code.code, code.scheme, written.line(code.display))


def _unit(report: OutgoingReport, quantity: Quantity, key: str = "") -> sr.CodedConcept:
    unit = report.codes.unit(quantity, key)
    return sr.CodedConcept(unit, "UCUM", "percent" if unit == "%" else unit)


def _measurement(
    name: Code | sr.CodedConcept,
    value: str | int,
    unit: sr.CodedConcept,
    properties: sr.MeasurementProperties | None = None,
) -> sr.Measurement:
    """One number (TID 300), written exactly as the report has it."""
    concept = _concept(name) if isinstance(name, Code) else name
    measurement = sr.Measurement(concept, float(value), unit, properties=properties)
    _write_exactly(measurement[0], value)
    return measurement


def _property(name: Any, value: str | float, unit: sr.CodedConcept) -> sr.NumContentItem:
    item = sr.NumContentItem(name, float(value), unit, relationship_type=_HAS_PROPERTIES)
    _write_exactly(item, value)
    return item


def _write_exactly(item: Dataset, value: str | float) -> None:
    measured = item.MeasuredValueSequence[0]
    measured.NumericValue = str(value)
    del measured.FloatingPointValue  # the decimal text is the value; a binary one would differ


def _observation_context(report: OutgoingReport) -> sr.ObservationContext:
    """Who signed, which software and which models looked, and at what (TID 1001)."""
    content = report.content
    context = sr.ObservationContext()
    if signature := content["signature"]:
        context.extend(_person(signature, content["laboratory"]["name"]))
    for name, version, serial in devices(content):
        context.extend(_device(name, version, serial))
    number = written.identifier(content["specimen"]["accession_number"], "The accession number")
    context.extend(
        sr.SubjectContext(
            codes.DCM.Specimen,
            sr.SubjectContextSpecimen(
                uid=specimen_uid(content),
                identifier=number,
                container_identifier=number,
                specimen_type=_BLOOD_SPECIMEN,
            ),
        )
    )
    return context


def devices(content: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, version and digest of what has observed: the software, then its models."""
    from django.conf import settings

    models = [(m["name"], m["version"], m["digest"]) for m in content["models"]]
    return [(MANUFACTURER, settings.SOFTWARE_VERSION, ""), *models]


def _person(signature: dict[str, str], laboratory: str) -> sr.ObserverContext:
    return sr.ObserverContext(
        codes.DCM.Person,
        sr.PersonObserverIdentifyingAttributes(
            name=written.displayed_name(signature["name"]),
            login_name=signature["username"],
            organization_name=laboratory,
        ),
    )


def _device(name: str, version: str, serial: str) -> sr.ObserverContext:
    return sr.ObserverContext(
        codes.DCM.Device,
        sr.DeviceObserverIdentifyingAttributes(
            uid=stable_uid("device", name, version, serial),
            name=name,
            manufacturer_name=MANUFACTURER,
            model_name=f"{name} {version}",
            serial_number=serial or None,
        ),
    )


def _algorithm(content: dict[str, Any]) -> sr.AlgorithmIdentification | None:
    """The model that proposed the classes; several are named together (TID 4019 has one)."""
    models = content["models"]
    if not models:
        return None
    return sr.AlgorithmIdentification(
        name=" + ".join(model["name"] for model in models),
        version=" + ".join(model["version"] for model in models),
        parameters=[f"SHA-256 {model['digest']}" for model in models],
        manufacturer=MANUFACTURER,
    )


def _group(
    report: OutgoingReport,
    key: str,
    finding: sr.CodedConcept,
    measurements: list[sr.Measurement],
) -> sr.MeasurementsAndQualitativeEvaluations:
    """One Measurement Group (TID 1501); its tracking UID is the same in each version."""
    content = report.content
    verified = content["signature"] is not None
    method = report.codes.method if verified else report.codes.method_unverified
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(
            uid=stable_uid("tracking", *specimen_key(content), key), identifier=key
        ),
        finding_type=finding,
        method=_concept(method),
        algorithm_id=_algorithm(content),
        measurements=measurements,
        source_images=_images(s for s in report.sources if s.cell_class == key),
    )


def _images(sources: Iterable[SourceInstance]) -> list[sr.SourceImageForMeasurementGroup]:
    """One reference for each instance, with its frames where it has several."""
    frames: dict[tuple[str, str], list[int]] = {}
    for source in sources:
        of_instance = frames.setdefault((source.sop_class_uid, source.sop_instance_uid), [])
        if source.frame is not None:
            of_instance.append(source.frame)
    return [
        sr.SourceImageForMeasurementGroup(*instance, referenced_frame_numbers=sorted(given) or None)
        for instance, given in frames.items()
    ]


def _whole(report: OutgoingReport) -> sr.MeasurementsAndQualitativeEvaluations:
    content = report.content
    unit = _unit(report, Quantity.CELLS_COUNTED)
    measurements = [_measurement(report.codes.cells_counted, content["counted"], unit)]
    if (total := content["specimen"]["wbc_count"]) is not None:
        unit = _unit(report, Quantity.WBC_COUNT)
        measurements.append(_measurement(report.codes.wbc_count, total, unit))
    return _group(report, "differential", _LEUKOCYTE, measurements)


def _classes(report: OutgoingReport) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    return [
        _group(report, row["key"], _concept(report.codes.cell(row["key"])), _row(report, row))
        for row in report.content["differential"]
    ]


def _row(report: OutgoingReport, row: dict[str, Any]) -> list[sr.Measurement]:
    key = row["key"]
    percent = _measurement(
        report.codes.percent(key),
        row["percent"],
        _unit(report, Quantity.PERCENT, key),
        properties=_properties(report, row, Quantity.PERCENT, _limits(report, row)),
    )
    found = [percent, _count(report, row["count"])]
    if row["absolute"] is not None:
        absolute = _measurement(
            report.codes.absolute(key),
            row["absolute"],
            _unit(report, Quantity.ABSOLUTE, key),
            properties=_properties(report, row, Quantity.ABSOLUTE, None),
        )
        found.append(absolute)
    return found


def _count(report: OutgoingReport, count: int) -> sr.Measurement:
    unit = _unit(report, Quantity.CELLS_COUNTED)
    return _measurement(own_code("count", "Cells of this class counted"), count, unit)


def _limits(report: OutgoingReport, row: dict[str, Any]) -> sr.MeasurementStatisticalProperties:
    """The 95% limits (TID 311), under our own codes: CID 226 and 227 have none for them."""
    unit = _unit(report, Quantity.PERCENT, row["key"])
    ends = (("lower-95", "Lower", row["lower"]), ("upper-95", "Upper", row["upper"]))
    return sr.MeasurementStatisticalProperties(
        [
            _property(own_code(code, f"{end} 95% confidence limit (Clopper-Pearson)"), value, unit)
            for code, end, value in ends
        ]
    )


def _properties(
    report: OutgoingReport,
    row: dict[str, Any],
    quantity: Quantity,
    statistics: sr.MeasurementStatisticalProperties | None,
) -> sr.MeasurementProperties | None:
    """Limits, reference range and how the value lies in it (TID 310)."""
    judged = row["reference"].get(quantity.value)
    if judged is None:
        if statistics is None:
            return None
        return sr.MeasurementProperties(measurement_statistical_properties=statistics)
    unit = _unit(report, quantity, row["key"])
    ends = (
        (codes.cid223.NormalRangeLowerLimit, judged["low"]),
        (codes.cid223.NormalRangeUpperLimit, judged["high"]),
    )
    values = [_property(name, value, unit) for name, value in ends if value is not None]
    authority = written.paragraph(judged["source"]) or None
    return sr.MeasurementProperties(
        normality=_NORMALITY[judged["flag"]],
        measurement_statistical_properties=statistics,
        normal_range_properties=sr.NormalRangeProperties(values, authority=authority),
    )


def _other_cells(report: OutgoingReport) -> list[sr.MeasurementsAndQualitativeEvaluations]:
    """Cells outside the denominator: their count, and per 100 white cells where there are any."""
    groups = []
    for row in report.content["non_wbc"]:
        key = row["key"]
        measurements = [_count(report, row["count"])]
        if row["per_100_wbc"] is not None:
            unit = _unit(report, Quantity.PER_100_WBC, key)
            code = report.codes.per_100_wbc(key)
            measurements.append(_measurement(code, row["per_100_wbc"], unit))
        groups.append(_group(report, key, _concept(report.codes.cell(key)), measurements))
    return groups


def _evaluations(content: dict[str, Any]) -> sr.ContainerContentItem:
    """What people wrote for the report, and what it is good for (TID 1500, row 11)."""
    container = sr.ContainerContentItem(_QUALITATIVE, relationship_type=_CONTAINS)
    container.ContentSequence = sr.ContentSequence()
    texts = [(_COMMENT, f"{c['text']} ({c['author']})") for c in content["comments"]]
    own = [("limitation", content["limitation"])]
    if content["signature"]:
        own.append(("signature-meaning", content["signature"]["meaning"]))
    if content["amendment_reason"]:
        own.append(("amendment-reason", content["amendment_reason"]))
    own += [("bypass", f"{b['text']} {b['reason']}") for b in content["bypassed"]]
    own += [
        ("critical-value-told", f"{key}: {who}")
        for key, who in content["critical_values_told"].items()
    ]
    texts += [(own_code(code, _OWN_TEXTS[code]), text) for code, text in own]
    for name, text in texts:
        item = sr.TextContentItem(name, written.paragraph(text), relationship_type=_CONTAINS)
        container.ContentSequence.append(item)
    return container
