"""The model as it lies on disk: a folder of files, checked before a byte of it is used.

A folder holds the exported network, its Keras weights, the statistics of the decision and a
`metadata.json` that names every file with its SHA-256. Loading proves three things apart from
each other, because each asks for something else from the operator: the files are all there
(`ModelFileMissing`), they are the files that were released (`ModelFileCorrupt`), and this version
of the software understands them (`ModelIncompatible`).
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from classifier.classes import CELL_CLASSES
from classifier.distances import ClassDistances, ForeignLikeness
from classifier.nn import EMBEDDING_SIZE, POOLED_SIZE
from classifier.preprocessing import PREPROCESSING_VERSION

FORMAT_VERSION = 1
DEFAULT_FOLDER = Path(__file__).resolve().parent / "weights"

METADATA_FILE = "metadata.json"
ONNX_FILE = "dmfnet.onnx"
KERAS_WEIGHTS_FILE = "dmfnet.weights.h5"
DECISION_FILE = "decision.npz"

REINSTALL = "Restore the folder from the release, or set WBCLAB_MODEL_DIR to a complete one."


class ModelArtifactError(Exception):
    """The model folder cannot be used; the message says what to do about it."""


class ModelFileMissing(ModelArtifactError):
    """A file of the model is not there or cannot be read."""


class ModelFileCorrupt(ModelArtifactError):
    """A file of the model is not the one that was released."""


class ModelIncompatible(ModelArtifactError):
    """The model is intact, but was made for another version of this software."""


@dataclass(frozen=True, eq=False)
class ModelArtifact:
    """One verified model version.

    Attributes:
        folder: where its files lie.
        files: SHA-256 (hexadecimal) of each file by name.
        input_dtype: element type the exported network takes, values 0..255.
        temperature: divides the logits before the softmax.
        confidence_threshold: below this calibrated probability the model abstains.
        ood_threshold: above this out-of-distribution score the model abstains.
        ood_scale: divides the strangeness (`classifier.distances`) to give that score.
        class_means: float64 (5, d), mean of each class: of the pooled feature map (d = 512) or, up
            to version 2.0.0, of the embedding (d = 256).
        precision: float64 (d, d), inverse of the covariance shared by the classes.
        foreign: how much a cell resembles known cells of no class; None in models that were fitted
            without any.
        metadata: everything `metadata.json` says, for the model card and `/api/model_info`.
    """

    folder: Path
    name: str
    version: str
    files: Mapping[str, str]
    input_dtype: str
    temperature: float
    confidence_threshold: float
    ood_threshold: float
    ood_scale: float
    class_means: npt.NDArray[np.float64]
    precision: npt.NDArray[np.float64]
    metadata: Mapping[str, Any]
    foreign: ForeignLikeness | None = None

    @classmethod
    def load(cls, folder: Path | str = DEFAULT_FOLDER) -> Self:
        """Read and verify a model folder.

        Raises:
            ModelFileMissing, ModelFileCorrupt, ModelIncompatible: see the module.
        """
        folder = Path(folder)
        metadata = _read_metadata(folder)
        _check_compatible(metadata, folder)
        files = _verify_files(metadata, folder)
        means, precision, foreign = _read_statistics(folder / DECISION_FILE)
        try:
            return cls(
                folder=folder,
                name=str(metadata["name"]),
                version=str(metadata["version"]),
                files=files,
                input_dtype=str(metadata["input"].get("dtype", "float32")),
                temperature=_positive(metadata["temperature"]),
                confidence_threshold=_number(metadata["abstain"]["confidence_threshold"]),
                ood_threshold=_positive(metadata["ood"]["threshold"]),
                ood_scale=_positive(metadata["ood"]["scale"]),
                class_means=means,
                precision=precision,
                metadata=metadata,
                foreign=foreign,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelFileCorrupt(
                f"{folder / METADATA_FILE} lacks a usable value ({error!r}). {REINSTALL}"
            ) from error

    def path(self, name: str) -> Path:
        """Path of one verified file.

        Raises:
            ModelFileMissing: the model was released without this file.
        """
        if name not in self.files:
            raise ModelFileMissing(
                f"Model {self.name} {self.version} was released without {name}, which this engine "
                f"needs. Choose another engine, or export the model again with {name}."
            )
        return self.folder / name

    @cached_property
    def distances(self) -> ClassDistances:
        """The distances to the class means, ready to be measured."""
        return ClassDistances(self.class_means, self.precision)

    @property
    def digest(self) -> str:
        """SHA-256 over the file digests and the numbers that turn outputs into decisions.

        The thresholds live in metadata.json, which cannot hold a digest of itself. They are
        hashed by value: a recalibrated model decides differently and must be another version.
        """
        lines = [f"{name} {digest}" for name, digest in sorted(self.files.items())]
        lines += [
            f"{key} {value!r}"
            for key, value in (
                ("temperature", self.temperature),
                ("confidence_threshold", self.confidence_threshold),
                ("ood_threshold", self.ood_threshold),
                ("ood_scale", self.ood_scale),
                ("preprocessing_version", str(self.metadata["preprocessing_version"])),
            )
        ]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / METADATA_FILE
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileMissing(f"There is no model in {folder}: {error}. {REINSTALL}") from error
    except ValueError as error:
        raise ModelFileCorrupt(f"{path} is not readable JSON ({error}). {REINSTALL}") from error
    if not isinstance(metadata, dict):
        raise ModelFileCorrupt(f"{path} does not hold an object. {REINSTALL}")
    return metadata


def _check_compatible(metadata: Mapping[str, Any], folder: Path) -> None:
    expected = {
        "format_version": FORMAT_VERSION,
        "preprocessing_version": PREPROCESSING_VERSION,
        "classes": list(CELL_CLASSES),
    }
    for key, wanted in expected.items():
        found = metadata.get(key)
        if found != wanted:
            raise ModelIncompatible(
                f"The model in {folder} has {key} {found!r}; this version of wbclab works with "
                f"{wanted!r}. Install the wbclab version the model was released for, or export "
                f"the model again with this one."
            )


def _verify_files(metadata: Mapping[str, Any], folder: Path) -> dict[str, str]:
    listed = metadata.get("files")
    if not isinstance(listed, dict) or not {ONNX_FILE, DECISION_FILE} <= listed.keys():
        raise ModelFileCorrupt(
            f"{folder / METADATA_FILE} does not list {ONNX_FILE} and {DECISION_FILE}. {REINSTALL}"
        )
    for name, expected in listed.items():
        if Path(name).name != name:
            raise ModelFileCorrupt(
                f"{folder / METADATA_FILE} names a file outside its folder: {name!r}. {REINSTALL}"
            )
        actual = _sha256(folder / name)
        if actual != str(expected).lower():
            raise ModelFileCorrupt(
                f"{folder / name} is damaged or was changed: its SHA-256 is {actual}, the release "
                f"says {expected}. {REINSTALL}"
            )
    return {str(name): str(digest).lower() for name, digest in listed.items()}


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileMissing(f"The model is incomplete: {error}. {REINSTALL}") from error


def _read_statistics(
    path: Path,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], ForeignLikeness | None]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            means = np.asarray(arrays["class_means"], dtype=np.float64)
            precision = np.asarray(arrays["precision"], dtype=np.float64)
            foreign = _read_foreign(arrays)
    except (OSError, KeyError, ValueError) as error:
        raise ModelFileCorrupt(f"{path} cannot be read ({error}). {REINSTALL}") from error
    shapes = (means.shape, precision.shape)
    wanted = [((len(CELL_CLASSES), d), (d, d)) for d in (POOLED_SIZE, EMBEDDING_SIZE)]
    if shapes not in wanted or (foreign and foreign.direction.shape != means.shape[1:]):
        raise ModelIncompatible(
            f"{path} holds statistics of shapes {shapes}; this version of wbclab works with "
            f"{wanted[0]}. Export the model again with this version."
        )
    return means, precision, foreign


def _read_foreign(arrays: Any) -> ForeignLikeness | None:
    if "foreign_direction" not in arrays:
        return None
    direction = np.asarray(arrays["foreign_direction"], dtype=np.float64)
    return ForeignLikeness(direction, float(arrays["foreign_offset"]))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a finite number")
    return float(value)


def _positive(value: object) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError(f"{value!r} is not above zero")
    return number
