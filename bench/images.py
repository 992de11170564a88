"""The images that are sent, and the machine they are sent on."""

import io
import itertools
import os
import platform
from importlib.metadata import version
from pathlib import Path

from bench.client import Image
from bench.services import ROOT

DATA = Path(os.environ.get("WBCLAB_DATA", ROOT.parent / "shared" / "data"))


def sample_images(count: int) -> tuple[list[Image], str]:
    """JPEG files of the labelled images, or drawn ones where those are absent; and which."""
    paths = sorted((DATA / "pbc" / "val").rglob("*.jpg"))
    if paths:
        chosen = itertools.islice(paths[:: max(1, len(paths) // count)], count)
        return [(path.name, path.read_bytes()) for path in chosen], "labelled images (pbc/val)"
    from classifier.classes import CELL_CLASSES
    from classifier.synthetic import draw_cells, save_jpeg

    images = []
    counts = dict.fromkeys(CELL_CLASSES, -(-count // len(CELL_CLASSES)))
    for number, (_, cell) in enumerate(draw_cells(1, counts)):
        buffer = io.BytesIO()
        save_jpeg(cell, buffer)
        images.append((f"synthetic-{number}.jpg", buffer.getvalue()))
    return images, "synthetic"


def describe_machine() -> str:
    """Processor, cores, memory and the versions that matter, in two lines."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [line for line in information.read_text().splitlines() if "model name" in line]
        processor = names[0].partition(":")[2].strip() if names else processor
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("onnxruntime", "tensorflow-cpu", "keras", "django")
    )
    return (
        f"Machine: {processor}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
        f"{platform.release()}, load {os.getloadavg()[0]:.1f}\n"
        f"Python {platform.python_version()}, {packages}"
    )
