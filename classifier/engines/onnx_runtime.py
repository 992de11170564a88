"""ONNX Runtime: the engine for the CPU."""

import ctypes
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import PriorityQueue
from typing import Any

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
# How many cores compute one image together. More are no faster, and those that wait do so spinning.
TOGETHER = 2

Outputs = list[npt.NDArray[np.float32]]
# With the seconds they took.
Timed = tuple[Outputs, float]


class OnnxRuntimeEngine:
    """Computes the exported network on the CPU.

    Several images are divided among the cores, each of which runs the whole network for its part:
    the cores then wait for each other once a batch and not once a layer, which doubles the
    throughput. One image alone is computed by two cores together, if nobody else wants them.

    Args:
        threads: cores to use; every usable CPU if None.
    """

    name = "onnxruntime"

    def __init__(self, threads: int | None = None) -> None:
        self._cores = _Cores(threads or usable_cpus())
        self._loaded: _Loaded | None = None

    def load(self, artifact: ModelArtifact) -> None:
        """See `Engine.load`."""
        self._loaded = _Loaded(artifact, self._cores.count)

    def warm_up(self, batch_sizes: Sequence[int] | None = None) -> None:
        """See `Engine.warm_up`."""
        for size in batch_sizes or (1, self._cores.count * PART):
            images = np.zeros((size, INPUT_SIZE, INPUT_SIZE, 3), np.uint8)
            self.classify(images)
            if self._loaded is not None:
                self._loaded.compute(list(images[:1]), alone=True)

    def begin(self, count: int, *, ahead: bool = False) -> "Parts":
        """See `Engine.begin`. Parts that are complete are computed while others are awaited."""
        if self._loaded is None:
            raise RuntimeError("load a model before classifying")
        return Parts(count, ahead, self._loaded, self._cores)

    def classify(self, images: ImageArray) -> list[CellPrediction]:
        """See `Engine.classify`."""
        computation = self.begin(len(images))
        check_images(images)
        for image in images:
            computation.add(image)
        return computation.predictions()


class Parts:
    """A batch divided among the cores."""

    def __init__(self, count: int, ahead: bool, loaded: "_Loaded", cores: "_Cores") -> None:
        self.seconds = 0.0
        self._loaded = loaded
        self._cores = cores
        self._ahead = ahead
        self._count = count
        # As many parts as keep all cores busy to the end: of ten images each of four cores has two
        # or three, where parts of two would give one of them four.
        rounds = -(-count // (PART * cores.count))
        self._size, self._larger = divmod(count, min(count, rounds * cores.count) or 1)
        self._part: list[ImageArray] = []
        self._under_way: list[Future[Timed]] = []

    def add(self, image: ImageArray) -> None:
        """See `Computation.add`."""
        check_images(image[np.newaxis])
        self._part.append(image)
        larger = len(self._under_way) < self._larger
        if len(self._part) >= self._size + larger:
            self._begin_part()

    def predictions(self) -> list[CellPrediction]:
        """See `Computation.predictions`."""
        if self._part:
            self._begin_part()
        return self._decide([part.result() for part in self._under_way])

    def _begin_part(self) -> None:
        part, self._part = self._part, []
        # Threads that wait for each other a hundred times an image gain on free cores only; on
        # busy ones they take twice as long as one. This thread, which is about to wait, is among
        # those that run.
        alone = self._count == 1 and running_threads() <= self._cores.count
        compute = partial(_timed, self._loaded.compute, part, alone)
        self._under_way.append(self._cores.submit(compute, self._ahead))

    def _decide(self, parts: Sequence[Timed]) -> list[CellPrediction]:
        if not parts:
            return []
        started = time.perf_counter()
        predictions = self._loaded.decide([outputs for outputs, _ in parts])
        deciding = time.perf_counter() - started
        beside_each_other = min(self._cores.count, len(parts))
        self.seconds = deciding + sum(seconds for _, seconds in parts) / beside_each_other
        return predictions


class _Cores:
    """The threads that compute, each of them one part after the other."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="engine")
        self._numbers = itertools.count()
        self._waiting: PriorityQueue[tuple[bool, int, Callable[[], Timed], Future[Timed]]] = (
            PriorityQueue()
        )

    def submit(self, compute: Callable[[], Timed], ahead: bool) -> Future[Timed]:
        """Have one part computed, `ahead` before those that are not and still wait."""
        future: Future[Timed] = Future()
        self._waiting.put((not ahead, next(self._numbers), compute, future))
        self._pool.submit(self._compute_next)
        return future

    def _compute_next(self) -> None:
        _, _, compute, future = self._waiting.get_nowait()
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)


def _timed(compute: Callable[..., Outputs], *arguments: Any) -> Timed:
    started = time.perf_counter()
    return compute(*arguments), time.perf_counter() - started


class _Loaded:
    """One model, in a session for many callers at once and one that keeps two cores to itself."""

    def __init__(self, artifact: ModelArtifact, threads: int) -> None:
        self._artifact = artifact
        path = artifact.path(ONNX_FILE)
        self._shared = _session(path, 1)
        self._wide = _session(path, min(threads, TOGETHER)) if threads > 1 else self._shared
        # Models up to 2.0.0 were exported without the last output.
        self._names = list(OUTPUT_NAMES)[: len(self._shared.get_outputs())]
        _return_free_memory()

    def compute(self, images: Sequence[ImageArray], alone: bool = False) -> Outputs:
        """Outputs of the network for a few images; `alone` is for one caller at a time."""
        session = self._wide if alone else self._shared
        inputs = {"image": np.asarray(images, dtype=self._artifact.input_dtype)}
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
    # Behind an image its threads would go on spinning for four times as long as it took them.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
