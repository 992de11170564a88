"""TensorFlow: the engine for the GPU, and a second opinion on the CPU.

The only module of the serving side that imports TensorFlow and Keras; it does so when a model is
loaded, because the import takes seconds and 600 MB.
"""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from classifier.artifact import KERAS_WEIGHTS_FILE, ModelArtifact
from classifier.decision import CellPrediction, RawOutputs, decide
from classifier.engines.base import (
    Computation,
    EngineUnavailableError,
    Gathered,
    ImageArray,
    batches,
    check_images,
)
from classifier.nn import OUTPUT_NAMES
from classifier.preprocessing import INPUT_SIZE

logger = logging.getLogger(__name__)

# cuDNN chooses its kernels anew for every batch size, which costs seconds: batches are padded to
# these sizes, so that all of it happens in the warm-up.
CPU_BUCKETS = (1, 2, 4, 8, 16, 32)
GPU_BUCKETS = (*CPU_BUCKETS, 64, 128)

Outputs = dict[str, Any]


class TensorFlowEngine:
    """Computes the Keras network as a compiled function.

    `WBCLAB_MIXED_PRECISION=1` computes in float16 on GPUs with tensor cores; the probabilities then
    differ from the other engines in the third decimal place.

    Args:
        threads: for one operation on the CPU; TensorFlow's own choice if None.
    """

    name = "tensorflow"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._loaded: tuple[Callable[[Any], Outputs], ModelArtifact] | None = None
        self._buckets: tuple[int, ...] = CPU_BUCKETS

    def load(self, artifact: ModelArtifact) -> None:
        """See `Engine.load`."""
        weights = artifact.path(KERAS_WEIGHTS_FILE)
        tensorflow = _import_tensorflow()
        _configure(tensorflow, self._threads)
        if tensorflow.config.list_physical_devices("GPU"):
            self._buckets = GPU_BUCKETS
        import keras

        from classifier.nn.dmfnet import load_dmfnet

        mixed = os.environ.get("WBCLAB_MIXED_PRECISION", "0") == "1"
        keras.config.set_dtype_policy("mixed_float16" if mixed else "float32")
        self._loaded = _compile(tensorflow, load_dmfnet(weights)), artifact

    def warm_up(self, batch_sizes: Sequence[int] | None = None) -> None:
        """See `Engine.warm_up`."""
        for size in batch_sizes or self._buckets:
            self.classify(np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))

    def begin(self, count: int, *, ahead: bool = False) -> Computation:
        """See `Engine.begin`. A device computes a whole batch at once, in the caller's thread."""
        self._require_model()
        return Gathered(self.classify)

    def classify(self, images: ImageArray) -> list[CellPrediction]:
        """See `Engine.classify`."""
        function, artifact = self._require_model()
        check_images(images)
        predictions = []
        for batch in batches(images, self._buckets[-1]):
            outputs = function(_pad(batch, self._buckets))
            raw = RawOutputs(*(_array(outputs[name])[: len(batch)] for name in OUTPUT_NAMES))
            predictions += decide(raw, artifact)
        return predictions

    def _require_model(self) -> tuple[Callable[[Any], Outputs], ModelArtifact]:
        if self._loaded is None:
            raise RuntimeError("load a model before classifying")
        return self._loaded


def visible_gpus() -> int:
    """How many GPUs TensorFlow can use."""
    return len(_import_tensorflow().config.list_physical_devices("GPU"))


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise EngineUnavailableError(
            "The TensorFlow engine needs KERAS_BACKEND=tensorflow; unset that variable."
        )
    try:
        import tensorflow
    except ImportError as error:
        raise EngineUnavailableError(
            f"TensorFlow cannot be imported ({error}). Install it with requirements/train.txt (or "
            f"tensorflow[and-cuda] for a GPU), or choose the engine onnxruntime."
        ) from error
    return tensorflow


def _configure(tensorflow: Any, threads: int | None) -> None:
    try:
        for device in tensorflow.config.list_physical_devices("GPU"):
            # Otherwise TensorFlow takes the whole memory of the card at once.
            tensorflow.config.experimental.set_memory_growth(device, True)
        if threads is not None:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError:
        # Only possible before its first operation in this process.
        logger.warning("TensorFlow is already running; its devices and threads stay as they are")


def _compile(tensorflow: Any, model: Any) -> Callable[[Any], Outputs]:
    """One traced graph for every batch size, float32 outputs."""
    shape = (None, INPUT_SIZE, INPUT_SIZE, 3)

    def run(images: Any) -> Outputs:
        outputs = model(tensorflow.cast(images, tensorflow.float32), training=False)
        return {name: tensorflow.cast(outputs[name], tensorflow.float32) for name in OUTPUT_NAMES}

    signature = [tensorflow.TensorSpec(shape, tensorflow.uint8)]
    compiled = tensorflow.function(run, input_signature=signature)
    function: Callable[[Any], Outputs] = compiled.get_concrete_function()
    return lambda images: function(tensorflow.constant(images))


def _pad(batch: ImageArray, buckets: Sequence[int]) -> ImageArray:
    size = next(bucket for bucket in buckets if bucket >= len(batch))
    if size == len(batch):
        return batch
    padded = np.zeros((size, *batch.shape[1:]), np.uint8)
    padded[: len(batch)] = batch
    return padded


def _array(tensor: Any) -> npt.NDArray[np.float32]:
    return np.asarray(tensor.numpy(), dtype=np.float32)
