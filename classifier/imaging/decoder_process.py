"""The program of one decoder process: read a path, answer with pixels, under limits.

Started by `classifier.imaging.pool` as `python -m classifier.imaging.decoder_process FD MEMORY
SECONDS`. It ends when the pool's end of the socket closes, however the pool's process died.
"""

import os
import resource
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from classifier.imaging import protocol
from classifier.imaging.decode import PreparedImage, prepare_file
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import damaged
from classifier.preprocessing import prepare

_MAX_WRITTEN_BYTES = 16 * 1024**2
_STATM = Path("/proc/self/statm")


def main(descriptor: int, memory_limit_bytes: int, timeout_s: float) -> None:
    """Serve requests until the pool closes its end."""
    # Ctrl-C goes to the whole process group; the pool decides when its decoders end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=descriptor) as connection:
        # The first call of everything is slow; it should not be that of the first image.
        prepare(Image.fromarray(np.zeros((256, 256, 3), np.uint8)))
        _limit(memory_limit_bytes)
        _silence()
        connection.sendall(protocol.frame(protocol.READY))
        while (body := _receive(connection)) is not None:
            _limit_cpu(timeout_s)
            answer = _answer(*protocol.decode_request(body))
            connection.sendall(protocol.frame(protocol.encode_answer(answer)))


def _answer(
    path: Path, thumbnail_path: Path | None, frame: int | None
) -> PreparedImage | ImageRefused:
    try:
        return prepare_file(path, thumbnail_path, frame)
    except ImageRefused as refusal:
        return refusal
    except MemoryError:
        return ImageRefused("decode_memory", "The image needs too much memory to decode.")
    except Exception:
        # One strange image must not cost the process, which the next image would wait for.
        return damaged("its pixels cannot be prepared")


def _limit(memory_limit_bytes: int) -> None:
    """Allow so much memory beyond what the interpreter and the libraries already map.

    Elsewhere than on Linux only the time limits remain.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_WRITTEN_BYTES, _MAX_WRITTEN_BYTES))
    # A write over the limit should fail, not kill.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    if _STATM.exists():
        mapped = int(_STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = mapped + memory_limit_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _limit_cpu(timeout_s: float) -> None:
    """End a decoder that spins on, even when nobody is left to watch the clock."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time() + timeout_s) + 2, hard))


def _silence() -> None:
    """Drop what the image libraries print: its text is in the hands of whoever made the image."""
    with Path(os.devnull).open("wb") as sink:
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)


def _receive(connection: socket.socket) -> bytes | None:
    """One request, or None when the pool has gone."""
    header = _receive_exactly(connection, protocol.LENGTH.size)
    if header is None:
        return None
    return _receive_exactly(connection, protocol.LENGTH.unpack(header)[0])


def _receive_exactly(connection: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
