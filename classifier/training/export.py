"""The network in the forms that are served: ONNX for processors, SavedModel for TF Serving."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
from keras import Model
from numpy.typing import NDArray

from classifier.evaluation.metrics import softmax
from classifier.preprocessing import INPUT_SIZE
from classifier.training.onnx_layers import UnknownLayerError, write_network

PARITY = 1e-4
_INPUT_NAME = "image"


class ExportError(Exception):
    """The exported network does not do what the Keras model does; nothing was written."""


def input_signature() -> list[keras.InputSpec]:
    """Any number of images (n, 128, 128, 3), float32 in 0..255."""
    shape = (None, INPUT_SIZE, INPUT_SIZE, 3)
    return [keras.InputSpec(shape=shape, dtype="float32", name=_INPUT_NAME)]


def export_onnx(
    model: Model, path: Path, images: NDArray[np.uint8], *, temperature: float = 1.0
) -> float:
    """Write the network as ONNX, if it gives the same numbers as Keras on these images.

    The file has the input ``image`` (batch, 128, 128, 3) float32 in 0..255 and the outputs of the
    network: ``logits`` (batch, 5), ``embedding`` (batch, 256), ``explanation`` (batch, 16, 16) and
    ``pooled`` (batch, 512).

    Args:
        model: DM-FNet.
        path: File to write; it appears complete or not at all.
        images: Prepared images (n, 128, 128, 3) for the comparison.
        temperature: Divisor of the logits when probabilities are compared.

    Returns:
        The largest difference, see `compare_with_keras`.

    Raises:
        ExportError: If a layer cannot be written or an output differs by over 1e-4.
    """
    try:
        graph = write_network(model)
    except UnknownLayerError as error:
        raise ExportError(f"the network cannot be written as ONNX: {error}") from error
    onnx.checker.check_model(graph, full_check=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        finished = Path(scratch) / path.name
        onnx.save(graph, finished)
        difference = compare_with_keras(model, finished, images, temperature)
        if difference > PARITY:
            raise ExportError(f"ONNX and Keras differ by {difference:.2e}; allowed: {PARITY}")
        finished.replace(path)
    return difference


def export_saved_model(model: Model, folder: Path) -> None:
    """Write a SavedModel for TensorFlow Serving; ``folder`` is the numbered version folder.

    Needs the TensorFlow backend of Keras.
    """
    with _quiet():
        model.export(
            folder, format="tf_saved_model", input_signature=input_signature(), verbose=False
        )


def compare_with_keras(
    model: Model, path: Path, images: NDArray[np.uint8], temperature: float = 1.0
) -> float:
    """Largest difference between the ONNX file and the Keras model over all outputs of the file.

    Of the logits, the probabilities are compared. Vectors without bounds (embedding, pooled) are
    measured in parts of their largest value.
    """
    expected = model.predict(images.astype(np.float32), batch_size=64, verbose=0)
    found = run_onnx(path, images)
    differences = []
    for name, values in found.items():
        one: Any = expected[name]
        other: Any = values
        if name == "logits":
            one, other = softmax(one, temperature), softmax(other, temperature)
        scale = max(1.0, float(np.abs(one).max()))
        differences.append(float(np.abs(one - other).max()) / scale)
    return max(differences)


def run_onnx(
    path: Path, images: NDArray[np.uint8], batch_size: int = 64
) -> dict[str, NDArray[np.float32]]:
    """Run the ONNX file over images (n, 128, 128, 3) and return its outputs by name."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    parts: list[list[Any]] = [
        session.run(names, {_INPUT_NAME: images[start : start + batch_size].astype(np.float32)})
        for start in range(0, len(images), batch_size)
    ]
    return {
        name: np.concatenate([part[index] for part in parts]) for index, name in enumerate(names)
    }


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the converter's notes off the terminal; errors still arrive as exceptions."""
    with (
        Path(os.devnull).open("w") as sink,
        contextlib.redirect_stdout(sink),
        warnings.catch_warnings(action="ignore", category=FutureWarning),
    ):
        yield
