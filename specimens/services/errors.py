"""Refusals a service may answer with, beside Django's ValidationError and PermissionDenied."""

from collections.abc import Sequence

from specimens.workflow import Obstacle


class Conflict(Exception):
    """The request contradicts what is recorded; the text names the difference."""


class StaleReview(Conflict):
    """Another person changed cells since the sender last saw them; nothing was changed.

    `current` holds label, revision and reviewer of each cell in question, by image id.
    """

    def __init__(self, current: dict[int, dict[str, object]]) -> None:
        super().__init__(
            f"{len(current)} of the cells were changed by somebody else meanwhile. "
            "Look at them again, then decide."
        )
        self.current = current


class StaleVersion(Conflict):
    """The object has changed since the sender read it; nothing was changed."""


class GateClosed(Exception):
    """The sign gate is closed; `obstacles` says why, each with a code and a text."""

    def __init__(self, obstacles: Sequence[Obstacle]) -> None:
        super().__init__(" ".join(obstacle.text for obstacle in obstacles))
        self.obstacles = tuple(obstacles)


class LockedOut(Exception):
    """Too many wrong passwords, codes or tokens; none is looked at for a while."""

    def __init__(self, retry_after_seconds: int, *, account: bool) -> None:
        minutes, seconds = divmod(retry_after_seconds, 60)
        wait = f"{minutes + bool(seconds)} minutes" if minutes else f"{seconds} s"
        text = f"Too many wrong attempts from this address. Try again in {wait}."
        if account:
            text = (
                f"Too many wrong attempts. This account is locked for this address: try again "
                f"in {wait}, or ask an administrator to unlock it."
            )
        super().__init__(text)
        self.retry_after_seconds = retry_after_seconds


class QueueFull(Exception):
    """More work is waiting than the site allows; nothing was accepted."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__(
            f"The queue is full; nothing was stored. Try again in {retry_after_seconds} s."
        )
        self.retry_after_seconds = retry_after_seconds


class StorageUnavailable(Exception):
    """The image store cannot be written (disk full, unmounted); nothing was accepted."""
