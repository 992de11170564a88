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
from classifier.nn import OUTPUT_NAMES
from classifier.preprocessing import INPUT_SIZE

PARITY = 1e-4
_INPUT_NAME = "image"
_BATCH = "batch"
# Runtimes without an Erfc kernel refuse the whole file.
_FORBIDDEN_OPERATORS = frozenset({"Erfc", "Bitcast"})


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

    The file has the input ``image`` (batch, 128, 128, 3) float32 in 0..255 and the outputs
    ``logits`` (batch, 5), ``embedding`` (batch, 256) and ``explanation`` (batch, 16, 16).

    Args:
        model: DM-FNet.
        path: File to write; it appears complete or not at all.
        images: Prepared images (n, 128, 128, 3) for the comparison.
        temperature: Divisor of the logits when probabilities are compared.

    Returns:
        The largest difference of a probability.

    Raises:
        ExportError: If an operator is not portable or a probability differs by over 1e-4.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        raw = Path(scratch) / "raw.onnx"
        with _quiet():
            model.export(raw, format="onnx", input_signature=input_signature(), verbose=False)
        graph = onnx.load(raw)
        _name_interface(graph)
        _check_operators(graph)
        onnx.checker.check_model(graph, full_check=True)
        finished = Path(scratch) / path.name
        onnx.save(graph, finished)
        difference = compare_with_keras(model, finished, images, temperature)
        if difference > PARITY:
            raise ExportError(
                f"ONNX and Keras differ by {difference:.2e} in a probability; allowed: {PARITY}"
            )
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
    """Largest difference of a probability between the ONNX file and the Keras model."""
    expected = model.predict(images.astype(np.float32), batch_size=64, verbose=0)
    found = run_onnx(path, images)
    expected_p = softmax(expected["logits"], temperature)
    return float(np.abs(expected_p - softmax(found["logits"], temperature)).max())


def run_onnx(
    path: Path, images: NDArray[np.uint8], batch_size: int = 64
) -> dict[str, NDArray[np.float32]]:
    """Run the ONNX file over images (n, 128, 128, 3) and return its outputs by name."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    parts: list[list[Any]] = [
        session.run(
            list(OUTPUT_NAMES),
            {_INPUT_NAME: images[start : start + batch_size].astype(np.float32)},
        )
        for start in range(0, len(images), batch_size)
    ]
    return {
        name: np.concatenate([part[index] for part in parts])
        for index, name in enumerate(OUTPUT_NAMES)
    }


def _name_interface(graph: onnx.ModelProto) -> None:
    """Order the outputs, and call the free dimension by one name."""
    outputs = {output.name: output for output in graph.graph.output}
    if set(outputs) != set(OUTPUT_NAMES):
        raise ExportError(f"unexpected outputs: {sorted(outputs)}")
    ordered = [outputs[name] for name in OUTPUT_NAMES]
    del graph.graph.output[:]
    graph.graph.output.extend(ordered)
    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    # Shapes of inner values would still carry the old name; runtimes infer them anew.
    del graph.graph.value_info[:]


def _check_operators(graph: onnx.ModelProto) -> None:
    found = {node.op_type for node in graph.graph.node} & _FORBIDDEN_OPERATORS
    if found:
        raise ExportError(f"operators that CPU runtimes refuse: {sorted(found)}")


@contextlib.contextmanager
def _quiet() -> Any:
    """Keep the converter's notes off the terminal; errors still arrive as exceptions."""
    with (
        Path(os.devnull).open("w") as sink,
        contextlib.redirect_stdout(sink),
        warnings.catch_warnings(action="ignore", category=FutureWarning),
    ):
        yield
