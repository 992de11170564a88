"""ONNX Runtime: the engine for the CPU."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnxruntime

from classifier.artifact import ONNX_FILE, ModelArtifact
from classifier.cpus import usable_cpus
from classifier.decision import CellPrediction, RawOutputs, decide
from classifier.engines.base import ImageArray, batches, check_images
from classifier.nn import OUTPUT_NAMES
from classifier.preprocessing import INPUT_SIZE

# Beyond this the throughput no longer grows, only the memory for the feature maps.
MAX_BATCH = 32


class OnnxRuntimeEngine:
    """Computes the exported network on the CPU.

    Args:
        threads: for one batch; one for each usable CPU if None.
    """

    name = "onnxruntime"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads
        self._loaded: tuple[onnxruntime.InferenceSession, ModelArtifact] | None = None

    def load(self, artifact: ModelArtifact) -> None:
        """See `Engine.load`."""
        options = onnxruntime.SessionOptions()
        # Left to itself the runtime pins a thread to every core, also those it may not use.
        options.intra_op_num_threads = self._threads or usable_cpus()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that wait by spinning gain a little on an idle machine and lose two thirds of the
        # throughput on one that also decodes images and serves pages.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            artifact.path(ONNX_FILE), options, providers=["CPUExecutionProvider"]
        )
        self._loaded = session, artifact

    def warm_up(self, batch_sizes: Sequence[int] | None = None) -> None:
        """See `Engine.warm_up`."""
        for size in batch_sizes or (1, MAX_BATCH):
            self.classify(np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8))

    def classify(self, images: ImageArray) -> list[CellPrediction]:
        """See `Engine.classify`."""
        if self._loaded is None:
            raise RuntimeError("load a model before classifying")
        check_images(images)
        session, artifact = self._loaded
        predictions = []
        for batch in batches(images, MAX_BATCH):
            predictions += decide(_run(session, batch, artifact.input_dtype), artifact)
        return predictions


def _run(session: onnxruntime.InferenceSession, batch: ImageArray, dtype: str) -> RawOutputs:
    # Models up to 2.0.0 were exported without the last output.
    names = list(OUTPUT_NAMES)[: len(session.get_outputs())]
    outputs: list[npt.NDArray[np.float32]] = session.run(
        names, {"image": np.ascontiguousarray(batch, dtype=dtype)}
    )
    return RawOutputs(*outputs)
