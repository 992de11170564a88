"""The process that reads pictures for an export: bounded, and replaced where a picture kills it."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from classifier.cpus import on_any_core
from specimens.dicom.export_pixels import Picture

_ROOT: Final = Path(__file__).resolve().parents[2]
# No secret of a service stands in these.
_KEPT_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "HOME")
_MEMORY_BYTES: Final = 1024**3
_SECONDS: Final = 20.0
_START_SECONDS: Final = 60.0
_BLOCK: Final = 1024**2
LARGEST_ANSWER: Final = 256 * 1024**2


class PictureRefused(Exception):
    """A picture that cannot be exported; the text says why."""


class PictureReader:
    """Reads pictures one after the other. Used by one thread; close it, or use it with `with`."""

    def __init__(self, memory_bytes: int = _MEMORY_BYTES, seconds: float = _SECONDS) -> None:
        self._memory_bytes, self._seconds = memory_bytes, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._is_warm = False
        self._received = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process.wait()
        self._process, self._is_warm, self._received = None, False, b""

    def read(self, path: Path, frame: int | None, *, bare: bool) -> Picture:
        """Return the picture; `bare` leaves out what a stream carries beside its pixels.

        Raises PictureRefused.
        """
        deadline = time.monotonic() + (self._seconds if self._is_warm else _START_SECONDS)
        request = json.dumps({"path": str(path), "frame": frame, "bare": bare}).encode() + b"\n"
        try:
            process = self._running()
            assert process.stdin is not None  # noqa: S101 - narrows the type
            process.stdin.write(request)
            process.stdin.flush()
            header = json.loads(self._line(deadline))
            data = self._exactly(header.pop("data"), deadline)
            profile = self._exactly(header.pop("profile"), deadline)
        except TimeoutError as error:
            self.close()
            text = f"The picture took more than {self._seconds:g} s to read."
            raise PictureRefused(text) from error
        except (OSError, EOFError, ValueError) as error:
            self.close()
            raise PictureRefused("Reading the picture ended the process that read it.") from error
        self._is_warm = True
        return _picture(header, data, profile)

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
            with on_any_core():
                self._process = subprocess.Popen(
                    [
                        sys.executable, "-m", "specimens.dicom.export_pixels",
                        str(self._memory_bytes), str(self._seconds),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd=_ROOT,
                    env=kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
        return self._process

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._received:
            self._receive(deadline)
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _exactly(self, count: int, deadline: float) -> bytes:
        if not isinstance(count, int) or not 0 <= count <= LARGEST_ANSWER:
            raise ValueError("an answer of impossible length")
        parts, missing = [self._received[:count]], count - len(self._received[:count])
        self._received = self._received[count:]
        while missing:
            self._receive(deadline)
            parts.append(self._received[:missing])
            self._received = self._received[missing:]
            missing -= len(parts[-1])
        return b"".join(parts)

    def _receive(self, deadline: float) -> None:
        assert self._process is not None  # noqa: S101 - narrows the type
        assert self._process.stdout is not None  # noqa: S101
        descriptor = self._process.stdout.fileno()
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        if not (block := os.read(descriptor, _BLOCK)):
            raise EOFError
        self._received += block


def _picture(header: dict[str, Any], data: bytes, profile: bytes) -> Picture:
    if refused := header.pop("refused"):
        raise PictureRefused(str(refused))
    picture = Picture(**(header | {"data": data, "profile": profile}))
    pixels = picture.rows * picture.columns
    if not (0 < pixels <= 1 << 28) or not (picture.is_jpeg or len(data) == 3 * pixels):
        raise PictureRefused("What was read of the picture contradicts itself.")
    return picture
