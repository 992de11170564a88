"""The pool's side of one decoder process."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from classifier.cpus import on_any_core
from classifier.imaging import protocol

_ROOT = Path(__file__).resolve().parents[2]
# All a decoder needs. Not passed on: the secrets that stand in the environment of a service.
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "HOME")
_EXIT_WAIT_S = 1.0
# Each image needs the same few hundred kilobytes again. Given back to the kernel in between, they
# come page by page, which takes as long as decoding: Pillow keeps 4 MiB, the allocator 16.
_KEEP_MEMORY = {
    "PILLOW_BLOCKS_MAX": "4",
    "MALLOC_TRIM_THRESHOLD_": str(16 * 1024**2),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024**2),
}


class Decoder:
    """A child process and the task it has in hand.

    Attributes:
        task: index of the image it works on, or None.
        deadline: monotonic time at which it counts as hanging.
        ready: whether it has reported that it is up.
        served: how many images it has answered.
    """

    def __init__(self, memory_limit_bytes: int, timeout_s: float) -> None:
        self.task: int | None = None
        self.deadline = 0.0
        self.ready = False
        self.served = 0
        self._received = b""
        self.socket, theirs = socket.socketpair()
        with theirs, on_any_core():
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "classifier.imaging.decoder_process",
                    str(theirs.fileno()),
                    str(memory_limit_bytes),
                    str(timeout_s),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=_environment(),
            )
        self.socket.setblocking(False)

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, request: bytes) -> bool:
        """Send a request; whether the process could take it.

        A request is a few hundred bytes and only one is under way, so that a live process always
        has room for it.
        """
        data = protocol.frame(request)
        try:
            return self.socket.send(data) == len(data)
        except OSError:
            return False

    def receive(self) -> list[bytes]:
        """The answers that have arrived in full.

        Raises:
            EOFError: the process has ended.
            ProtocolError: it sent a frame that no decoder sends.
        """
        try:
            data = self.socket.recv(protocol.MAX_FRAME)
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        self._received += data
        return list(self._frames())

    def _frames(self) -> "list[bytes]":
        frames = []
        start = protocol.LENGTH.size
        while len(self._received) >= start:
            (length,) = protocol.LENGTH.unpack_from(self._received)
            if length > protocol.MAX_FRAME:
                raise protocol.ProtocolError(f"A decoder announced a frame of {length} bytes")
            end = start + length
            if len(self._received) < end:
                break
            # An answer mostly comes whole and alone: then this is the only copy of its pixels.
            frames.append(self._received[start:end])
            self._received = self._received[end:]
        return frames

    def end(self) -> signal.Signals | None:
        """Let the process end by itself, for it is about to; the signal that ended it, if any."""
        self.socket.close()
        try:
            code = self._process.wait(_EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return None
        return signal.Signals(-code) if code < 0 else None

    def kill(self) -> None:
        """End the process now, also when it is stopped or hangs."""
        self.socket.close()
        self._process.kill()
        self._process.wait()


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    search = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(search),
        # The pool is the parallelism; a pool of threads in each child only costs memory.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        **_KEEP_MEMORY,
    }
