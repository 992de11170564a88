"""The runtimes that compute DM-FNet, behind one interface.

Importing this package loads none of them: a worker imports the one it uses, when it starts.
"""

import importlib.util
import os
from pathlib import Path
from typing import Literal

from classifier.engines.base import Engine, EngineUnavailableError

__all__ = ["ENGINE_NAMES", "Engine", "EngineName", "EngineUnavailableError", "create_engine"]

EngineName = Literal["auto", "onnxruntime", "tensorflow"]
ENGINE_NAMES: tuple[EngineName, ...] = ("auto", "onnxruntime", "tensorflow")

# The driver's device nodes: on Linux, and on Linux under Windows.
_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def create_engine(name: str = "auto", threads: int | None = None) -> Engine:
    """An engine without a model; call its `load` next.

    Args:
        name: one of `ENGINE_NAMES`. "auto" is TensorFlow where it is installed and sees a GPU,
            else ONNX Runtime.
        threads: CPU threads for one batch; the runtime's own choice if None.

    Raises:
        ValueError: there is no engine of that name.
        EngineUnavailableError: its runtime is not installed.
    """
    if name not in ENGINE_NAMES:
        raise ValueError(f"There is no engine {name!r}; choose one of {', '.join(ENGINE_NAMES)}")
    if name == "auto":
        name = "tensorflow" if _tensorflow_sees_a_gpu() else "onnxruntime"
    if name == "tensorflow":
        from classifier.engines.tensorflow import TensorFlowEngine

        return TensorFlowEngine(threads)
    from classifier.engines.onnx_runtime import OnnxRuntimeEngine

    return OnnxRuntimeEngine(threads)


def _tensorflow_sees_a_gpu() -> bool:
    """Ask TensorFlow only where the answer may be yes: importing it takes seconds and 600 MB."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1")
    if hidden or not any(device.exists() for device in _GPU_DEVICES):
        return False
    if importlib.util.find_spec("tensorflow") is None:
        return False
    from classifier.engines.tensorflow import visible_gpus

    return visible_gpus() > 0
