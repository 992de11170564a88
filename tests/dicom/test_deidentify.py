"""De-identification: nothing that names a person, a place, a device or a day is left anywhere."""

import io
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

from specimens.dicom.deidentify import NotDeidentifiable, Pseudonyms, deidentify
from specimens.dicom.export_instance import write_instance
from specimens.dicom.profile import METHOD_CODES, PROFILE, TERMS, Action
from tests.dicom.files import instance

SECRET = b"a secret of the laboratory"
PATIENT = ("Laboratory", "HOSP", "P0815")
# What is planted, in everything that can hold it.
MARK = "Zugereist"
MARKED_UID = "1.2.276.0.815.4711"
MARKED_DAY = "19871231"
MARKED_NUMBER = "47110815"


def pseudonyms(**changes: Any) -> Pseudonyms:
    return Pseudonyms(**({"secret": SECRET, "patient": PATIENT} | changes))


def value_for(vr: str) -> Any:
    """Something that identifies, in the form of a value representation."""
    if vr in ("LO", "LT", "PN", "SH", "ST", "UC", "UT", "AE", "UR"):
        return MARK
    if vr == "CS":
        return MARK.upper()
    marked = {
        "UI": MARKED_UID, "DA": MARKED_DAY, "DT": f"{MARKED_DAY}101112", "TM": "101112",
        "AS": "087Y", "IS": MARKED_NUMBER, "DS": MARKED_NUMBER,
        "OB": MARK.encode() + b"\0", "OW": MARK.encode() + b"\0", "UN": MARK.encode() + b"\0",
    }  # fmt: skip
    return marked.get(vr)


def planted() -> Dataset:
    """An image with marks in every attribute of the dictionary that can hold one, and in private
    ones, at the top and inside sequences.
    """
    dataset = instance()
    pixels = dataset.PixelData
    for tag, entry in DicomDictionary.items():
        keyword, vr = entry[4], entry[0].split(" or ")[0]
        group = tag >> 16
        if not keyword or group in (0x0000, 0x0002, 0xFFFE) or keyword == "PixelData":
            continue
        if PROFILE.get(keyword) is Action.KEEP and vr in ("US", "OB", "OW"):
            continue  # how the pixels are coded: there is no room for anything else
        if (value := value_for(vr)) is not None:
            dataset.add(DataElement(tag, vr, value))
    add_private(dataset)
    inner = Dataset()
    for keyword in ("PatientName", "SpecimenIdentifier", "SpecimenUID", "CodeMeaning",
                    "StudyDate", "TextValue", "CodeValue", "PatientID"):  # fmt: skip
        setattr(inner, keyword, value_for(DicomDictionary[Tag(keyword)][0]))
    add_private(inner)
    for tag, entry in DicomDictionary.items():
        if entry[0] == "SQ" and tag >> 16 not in (0x0000, 0x0002):
            outer = Dataset()
            outer.SpecimenTypeCodeSequence = Sequence([inner])
            outer.update({e.tag: e for e in inner})
            dataset.add(DataElement(tag, "SQ", Sequence([outer, inner])))
    dataset.PixelData = pixels
    dataset["PixelData"].VR = "OB"
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    dataset.BurnedInAnnotation = "NO"
    return dataset


def add_private(dataset: Dataset) -> None:
    block = dataset.private_block(0x0011, MARK, create=True)
    block.add_new(0x01, "LO", MARK)
    block.add_new(0x02, "UN", MARK.encode() + b"\0")
    block.add_new(0x03, "UI", MARKED_UID)


def leaves(dataset: Dataset, path: str = "") -> Iterator[tuple[str, DataElement]]:
    """Every element at every level, with its path."""
    for element in dataset:
        here = f"{path}/{keyword_for_tag(element.tag) or element.tag}"
        yield here, element
        if element.VR == "SQ":
            for number, item in enumerate(element.value):
                yield from leaves(item, f"{here}[{number}]")


def as_file(dataset: Dataset) -> bytes:
    out = io.BytesIO()
    write_instance(dataset, out)
    return out.getvalue()


def test_no_mark_is_left_in_any_attribute_nor_in_the_file() -> None:
    source = planted()
    assert sum(1 for _ in leaves(source)) > 5_000
    out = deidentify(source, pseudonyms())
    for path, element in leaves(out):
        assert not element.tag.is_private, path
        text = str(element.value) if element.VR not in ("OB", "OW") else ""
        for mark in (MARK, MARK.upper(), MARKED_UID, MARKED_DAY, MARKED_NUMBER, "101112"):
            assert mark not in text, f"{mark} in {path}"
    raw = as_file(out)
    for mark in (MARK, MARKED_UID, MARKED_DAY, MARKED_NUMBER):
        assert mark.encode() not in raw
        assert mark.upper().encode() not in raw
    kept = {element.keyword for _, element in leaves(out)}
    added = {
        "PatientIdentityRemoved",
        "DeidentificationMethod",
        "DeidentificationMethodCodeSequence",
        "LongitudinalTemporalInformationModified",
    }
    assert kept <= set(PROFILE) | added


def test_it_says_what_was_done_and_stays_a_valid_image() -> None:
    out = deidentify(planted(), pseudonyms())
    assert out.PatientIdentityRemoved == "YES"
    codes = [(c.CodeValue, c.CodeMeaning) for c in out.DeidentificationMethodCodeSequence]
    assert tuple(codes) == METHOD_CODES
    assert out.LongitudinalTemporalInformationModified == "MODIFIED"
    assert (out.PatientBirthDate, out.PatientSex, out.AccessionNumber) == ("", "", "")
    assert (out.ContainerIdentifier, str(out.PatientName)) == ("REMOVED", f"{out.PatientID}^")
    again = dcmread(io.BytesIO(as_file(out)))
    assert again.file_meta.MediaStorageSOPInstanceUID == out.SOPInstanceUID
    assert again.PixelData == instance().PixelData


def test_terms_and_numbers_are_kept_only_where_they_are_terms_and_short_numbers() -> None:
    source = instance(Modality="XC", ImageType=["ORIGINAL", "PRIMARY"], InstanceNumber=12)
    out = deidentify(source, pseudonyms())
    assert (out.Modality, list(out.ImageType), out.InstanceNumber) == (
        "XC", ["ORIGINAL", "PRIMARY"], 12,
    )  # fmt: skip
    source = instance(Modality="SMITH", ImageType=["ORIGINAL", "SMITH"], InstanceNumber=47110815)
    out = deidentify(source, pseudonyms())
    assert not {"Modality", "ImageType", "InstanceNumber"} & {e.keyword for e in out}


def test_burned_in_annotation_is_refused() -> None:
    with pytest.raises(NotDeidentifiable, match="Burned In Annotation"):
        deidentify(instance(BurnedInAnnotation="YES"), pseudonyms())
    assert deidentify(instance(BurnedInAnnotation="NO"), pseudonyms()).BurnedInAnnotation == "NO"
    assert "BurnedInAnnotation" not in deidentify(instance(), pseudonyms())


def test_every_text_that_is_kept_is_a_term() -> None:
    texts = {"CS", "SH", "LO", "ST", "LT", "UT", "PN", "UC"}
    for keyword, action in PROFILE.items():
        vr = DicomDictionary[Tag(keyword)][0]
        if action is Action.KEEP and vr in texts:
            assert keyword in TERMS, keyword


def test_each_patient_has_a_pseudonym_and_a_shift_of_its_own() -> None:
    one, same = pseudonyms(), pseudonyms()
    other = pseudonyms(patient=("Laboratory", "HOSP", "P0816"))
    elsewhere = pseudonyms(secret=b"another secret")
    assert (one.name, one.days, one.uid("1.2.3")) == (same.name, same.days, same.uid("1.2.3"))
    assert len({one.name, other.name, elsewhere.name}) == 3
    assert len({one.days, other.days, elsewhere.days}) == 3
    assert one.uid("1.2.3") == other.uid("1.2.3") != elsewhere.uid("1.2.3")
    assert "P0815" not in one.name


days = st.dates(date(1900, 1, 1), date(2100, 1, 1))
uids = st.from_regex(r"\A1\.2(\.(0|[1-9][0-9]{0,8})){1,5}\Z")


@settings(max_examples=200, deadline=None)
@given(first=days, second=days, number=st.text(min_size=1, max_size=20))
def test_intervals_and_days_of_the_week_stay(first: date, second: date, number: str) -> None:
    names = pseudonyms(patient=("Laboratory", "", number))
    moved = [date.fromisoformat(names.shifted(day.strftime("%Y%m%d"))) for day in (first, second)]
    assert moved[1] - moved[0] == second - first
    assert moved[0].weekday() == first.weekday()
    assert timedelta(days=7) <= first - moved[0] <= timedelta(days=7 * 520)


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(uids, min_size=2, max_size=8, unique=True))
def test_uids_stay_apart_valid_and_the_same_wherever_they_stand(ids: list[str]) -> None:
    names = pseudonyms()
    new = [names.uid(old) for old in ids]
    assert len(set(new)) == len(ids)
    assert all(UID(one).is_valid and one not in ids for one in new)
    assert new == [pseudonyms().uid(old) for old in ids]
    assert names.uids == dict(zip(ids, new, strict=True))


@settings(max_examples=100, deadline=None)
@given(value=st.text(max_size=20))
def test_what_is_no_date_becomes_none(value: str) -> None:
    shifted = pseudonyms().shifted(value)
    assert shifted == "" or (len(shifted) == 8 and shifted not in value)


def test_uids_of_the_standard_stay() -> None:
    assert pseudonyms().uid("1.2.840.10008.1.2.1") == "1.2.840.10008.1.2.1"
