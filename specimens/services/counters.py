"""What a worker has done since it started: kept in its heartbeat, read by the metrics."""

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from classifier.decision import OUT_OF_DISTRIBUTION, UNIDENTIFIED
from specimens.models import Prediction

BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128)


class WorkerCounters:
    """Adds up batches; any thread may take a snapshot."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._seconds = 0.0
        self._engine_seconds = 0.0

    def add_batch(
        self, predictions: Sequence[Prediction], failures: Sequence[str], seconds: float
    ) -> None:
        """Count a batch: what was said of its images, and the codes of those that failed."""
        size = len(predictions) + len(failures)
        bound = next((str(bound) for bound in BATCH_BOUNDS if size <= bound), "+Inf")
        with self._lock:
            self._sums["images"] += len(predictions)
            self._sums["abstained"] += sum(p.decision == UNIDENTIFIED for p in predictions)
            self._sums["out_of_distribution"] += sum(
                OUT_OF_DISTRIBUTION in p.reasons for p in predictions
            )
            self._sums["batched"] += size
            self._failures.update(failures)
            self._sizes[bound] += 1
            self._seconds += seconds
            self._engine_seconds += sum(p.milliseconds for p in predictions) / 1000

    def snapshot(self) -> dict[str, Any]:
        """Return the sums as plain JSON."""
        with self._lock:
            return {
                **self._sums,
                "failures": dict(self._failures),
                "sizes": dict(self._sizes),
                "seconds": round(self._seconds, 3),
                "engine_seconds": round(self._engine_seconds, 3),
            }
