"""The engine alone: prepared pixels in memory, no service around it. A child of the benchmark.

    python -m bench.bare_engine FOLDER

Reads numbers of images from its input, one line each, and answers with the seconds that
classifying so many took.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from classifier.artifact import DEFAULT_FOLDER, ModelArtifact
from classifier.engines import create_engine
from classifier.preprocessing import prepare

# What it gets at once; how it divides that among passes and cores is the engine's affair.
AT_ONCE = 64


def main(folder: Path) -> None:
    """Serve the benchmark until it closes the pipe."""
    threads = int(os.environ.get("WBCLAB_ENGINE_THREADS", "0")) or None
    engine = create_engine(os.environ.get("WBCLAB_ENGINE", "auto"), threads)
    engine.load(ModelArtifact.load(os.environ.get("WBCLAB_MODEL_DIR", DEFAULT_FOLDER)))
    paths = sorted(folder.iterdir())[:AT_ONCE]
    images = np.stack([prepare(Image.open(path).convert("RGB")) for path in paths])
    images = images[np.arange(AT_ONCE) % len(images)]
    for size in (1, 10, AT_ONCE):
        engine.classify(images[:size])
    print("ready", flush=True)
    for line in sys.stdin:
        left = int(line)
        started = time.perf_counter()
        while left > 0:
            engine.classify(images[: min(left, AT_ONCE)])
            left -= AT_ONCE
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
