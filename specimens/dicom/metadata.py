"""A data set as DICOM JSON without its bulk data (PS3.18 section 10.4.1.1.2 and annex F)."""

import io
import warnings
from typing import IO, Any, Final, cast

from pydicom import dcmread
from pydicom.dataset import Dataset

_BULKY: Final = ("OB", "OD", "OF", "OL", "OV", "OW", "UN")
_LONGEST_TEXT: Final = 64 * 1024


def metadata_of(file: IO[bytes]) -> dict[str, Any]:
    """Return the attributes in front of the pixel data; binary and very long ones are left out.

    The file must have passed `specimens.dicom.reader.read_instance`, which bounds its nesting.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values pydicom finds odd are passed on as they are
        dataset = dcmread(cast("io.BufferedIOBase", file), stop_before_pixels=True)
        _drop_bulk(dataset)
        found: dict[str, Any] = dataset.to_json_dict(suppress_invalid_tags=True)
    return found


def _drop_bulk(dataset: Dataset) -> None:
    for tag in list(dataset.keys()):
        element = dataset[tag]
        if element.VR in _BULKY or "O" in str(element.VR).split(" or ")[0][:1]:
            del dataset[tag]
        elif element.VR == "SQ":
            for item in element.value:
                _drop_bulk(item)
        elif isinstance(element.value, str) and len(element.value) > _LONGEST_TEXT:
            del dataset[tag]
