"""What processes use: memory and processor time, from /proc."""

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.processes import descendants

_KINDS = {
    "decoder_process": "decoder",
    "resource_tracker": "",
    "classification_worker": "worker",
    "delivery_worker": "deliverer",
    "uvicorn": "web",
}


@dataclass(frozen=True, slots=True)
class Process:
    """A process, and what it is."""

    kind: str
    pid: int

    @property
    def memory(self) -> int:
        """The most memory it has had so far, in bytes (VmHWM)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far, with that of children it has waited for."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def processes_below(roots: Mapping[str, int]) -> list[Process]:
    """The roots and all below them; a child is what its command line says, else like its root."""
    found = []
    for name, root in roots.items():
        for pid in [root, *descendants(root)]:
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                known = [kind for part, kind in _KINDS.items() if part in line]
                found.append(Process(known[0] if known else name, pid))
    return [process for process in found if process.kind]


def cpu_seconds(processes: list[Process]) -> float:
    """Processor time of all together."""
    total = 0.0
    for process in processes:
        with suppress(OSError):
            total += process.cpu_seconds
    return total


def memory_by_kind(processes: list[Process]) -> dict[str, list[int]]:
    """Peaks of memory in bytes, the largest first, by kind of process."""
    kinds: dict[str, list[int]] = {}
    for process in processes:
        with suppress(OSError):
            kinds.setdefault(process.kind, []).append(process.memory)
    return {kind: sorted(peaks, reverse=True) for kind, peaks in kinds.items()}
