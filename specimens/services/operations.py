"""Keeps on record what was run to look after the platform."""

from typing import Any

from specimens.models import OperationRun


def record_run(*, operation: str, ok: bool, details: dict[str, Any] | None = None) -> OperationRun:
    """Write down that an operation ended; monitoring asks how long ago that was."""
    return OperationRun.objects.create(operation=operation, ok=ok, details=details or {})
