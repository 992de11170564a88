"""What happened, when: one JSON object a line, on disk as it happens."""

import json
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


class Journal:
    """The log of a run; any thread may write. `seconds` counts from the start of the run."""

    def __init__(self, path: Path, *, aloud: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._aloud = aloud
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def note(self, event: str, figures: dict[str, Any]) -> None:
        """Add a line that is not said aloud."""
        self._add(event, {"figures": figures}, aloud=False)

    def write(self, event: str, **facts: Any) -> None:
        """Add a line: when, what kind of event, and its facts."""
        self._add(event, facts, aloud=self._aloud)

    def _add(self, event: str, facts: dict[str, Any], *, aloud: bool) -> None:
        seconds = round(time.monotonic() - self._began, 2)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "seconds": seconds, "event": event, **facts}
        with self._lock:
            self._file.write(json.dumps(line, default=str) + "\n")
            self._file.flush()
            if aloud:
                told = " ".join(f"{name}={value}" for name, value in facts.items())
                sys.stdout.write(f"{seconds:7.1f} s  {event}: {told}\n")
                sys.stdout.flush()
