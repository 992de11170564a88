"""ONNX Runtime: the engine for the CPU."""

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from classifier.artifact import ONNX_FILE, ModelArtifact
from classifier.cpus import running_threads, usable_cpus
from classifier.decision import CellPrediction, RawOutputs, decide
from classifier.engines.base import ImageArray, check_images
from classifier.nn import OUTPUT_NAMES
from classifier.preprocessing import INPUT_SIZE

# What one core computes in one pass. More is no faster, for the feature maps then leave its caches,
# and each core needs 7 MB more for each image; less costs more calls.
PART = 2

Outputs = list[npt.NDArray[np.float32]]


class OnnxRuntimeEngine:
    """Computes the exported network on the CPU.

    Several images are divided among the cores, each of which runs the whole network for its part:
    the cores then wait for each other once a batch and not once a layer, which doubles the
    throughput. One image alone is computed by all cores together, if nobody else wants them.

    Args:
        threads: cores to use; every usable CPU if None.
    """

    name = "onnxruntime"

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or usable_cpus()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="engine")
        self._loaded: _Loaded | None = None

    def load(self, artifact: ModelArtifact) -> None:
        """See `Engine.load`."""
        self._loaded = _Loaded(artifact, self._threads)

    def warm_up(self, batch_sizes: Sequence[int] | None = None) -> None:
        """See `Engine.warm_up`."""
        for size in batch_sizes or (1, self._threads * PART):
            images = np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
            self.classify(images)
            if self._loaded is not None:
                self._loaded.compute(images[:1], alone=True)

    def classify(self, images: ImageArray) -> list[CellPrediction]:
        """See `Engine.classify`."""
        loaded = self._loaded
        if loaded is None:
            raise RuntimeError("load a model before classifying")
        check_images(images)
        if len(images) == 0:
            return []
        if len(images) == 1:
            # Threads that wait for each other a hundred times an image gain on free cores only; on
            # busy ones they take twice as long as one. This thread is among those that run.
            return loaded.decide([loaded.compute(images, alone=running_threads() <= 2)])
        # As many parts as keep all cores busy to the end: of ten images each of four cores has two
        # or three, where parts of two would give one of them four.
        rounds = -(-len(images) // (PART * self._threads))
        parts = np.array_split(images, min(len(images), rounds * self._threads))
        return loaded.decide(list(self._pool.map(loaded.compute, parts)))


class _Loaded:
    """One model, in a session for many callers at once and one that keeps all cores to itself."""

    def __init__(self, artifact: ModelArtifact, threads: int) -> None:
        self._artifact = artifact
        path = artifact.path(ONNX_FILE)
        self._shared = _session(path, 1)
        self._wide = _session(path, threads) if threads > 1 else self._shared
        # Models up to 2.0.0 were exported without the last output.
        self._names = list(OUTPUT_NAMES)[: len(self._shared.get_outputs())]
        _return_free_memory()

    def compute(self, images: ImageArray, alone: bool = False) -> Outputs:
        """Outputs of the network for a few images; `alone` is for one caller at a time."""
        session = self._wide if alone else self._shared
        inputs = {"image": np.ascontiguousarray(images, dtype=self._artifact.input_dtype)}
        outputs: Outputs = session.run(self._names, inputs)
        return outputs

    def decide(self, parts: Sequence[Outputs]) -> list[CellPrediction]:
        """Predictions from the outputs for the parts of a batch."""
        return decide(RawOutputs(*map(np.concatenate, zip(*parts, strict=True))), self._artifact)


def _return_free_memory() -> None:
    """Hand back what reading and optimising the graphs took (20 MB), where the C library can."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # glibc's; it would keep the memory for the process
    except (AttributeError, OSError, TypeError):
        return


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # Left to itself the runtime pins a thread to every core, also those it may not use.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
