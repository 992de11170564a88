"""Refusals a service may answer with, beside Django's ValidationError and PermissionDenied."""


class Conflict(Exception):
    """The request contradicts what is recorded; the text names the difference."""


class QueueFull(Exception):
    """More work is waiting than the site allows; nothing was accepted."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            f"The queue is full; nothing was stored. Try again in {retry_after_seconds} s."
        )
        self.retry_after_seconds = retry_after_seconds


class StorageUnavailable(Exception):
    """The image store cannot be written (disk full, unmounted); nothing was accepted."""
