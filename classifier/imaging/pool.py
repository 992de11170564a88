"""Decoding uploads in processes that may die.

The caller hands over paths and gets pixels or refusals, in order. What an image does to its
decoder (hang, exhaust its memory, crash it) costs that image and nothing else: the process is
replaced and the others go on.
"""

import logging
import selectors
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from classifier.cpus import usable_cpus
from classifier.imaging import protocol
from classifier.imaging.decode import PreparedImage
from classifier.imaging.decoder import Decoder
from classifier.imaging.refusal import ImageRefused
from classifier.imaging.source import damaged

logger = logging.getLogger(__name__)

# The file, where its thumbnail goes, and the number of a frame of a DICOM file.
PathPair = tuple[Path, Path | None] | tuple[Path, Path | None, int | None]
Answer = PreparedImage | ImageRefused

_START_TIMEOUT_S = 60.0
_MAX_FAILED_STARTS = 3
# A fresh process now and then, so that no leak in an image library grows without end.
_MAX_SERVED = 20_000
# Sent from outside as well (an operator, the kernel short of memory): the image may be innocent.
_FOREIGN_SIGNALS = {signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT}


class DecoderPoolError(Exception):
    """Decoder processes cannot be started; no image is to blame."""


class DecoderPool:
    """Child processes that decode images under limits of memory and time.

    >>> with DecoderPool() as pool:  # doctest: +SKIP
    ...     answers = pool.prepare([(Path("cell.jpg"), None)])

    Args:
        processes: how many children; the number of usable CPUs, at most 8, if None.
        memory_limit_bytes: what a child may map beyond its own libraries.
        timeout_s: how long one image may take.
    """

    def __init__(
        self,
        processes: int | None = None,
        memory_limit_bytes: int = 1024**3,
        timeout_s: float = 10.0,
    ) -> None:
        self.processes = processes or min(8, usable_cpus())
        self.memory_limit_bytes = memory_limit_bytes
        self.timeout_s = timeout_s
        self._decoders: list[Decoder] = []
        self._selector = selectors.DefaultSelector()
        self._failed_starts = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the children, for monitoring."""
        return [decoder.pid for decoder in self._decoders]

    def start(self) -> None:
        """Start the children without waiting for them; `prepare` waits where it has to."""
        with self._lock:
            while len(self._decoders) < self.processes:
                self._add()

    def close(self) -> None:
        """End the children."""
        with self._lock:
            for decoder in self._decoders:
                self._selector.unregister(decoder.socket)
                decoder.kill()
            self._decoders.clear()

    def prepare(self, paths: Sequence[PathPair]) -> list[Answer]:
        """Decode images in parallel.

        Args:
            paths: the image and where its thumbnail goes, or None for no thumbnail; and the
                number of the frame where it is one of several in a DICOM file.

        Returns:
            For each pair in order the prepared image, or why it was refused.

        Raises:
            DecoderPoolError: no decoder can be started.
        """
        answers = dict(self.answers(paths))
        return [answers[task] for task in range(len(paths))]

    def answers(self, paths: Sequence[PathPair]) -> Generator[tuple[int, Answer]]:
        """Like `prepare`, but hands over each answer as it comes, with its place in `paths`.

        The pool serves nobody else before the last is taken, or this is closed.
        """
        if not self._decoders:
            self.start()
        with self._lock:
            batch = _Batch(paths)
            try:
                while batch.unfinished:
                    self._assign(batch)
                    # The decoders are at work while the caller is.
                    yield from batch.news()
                    self._collect(batch)
                    self._expire(batch)
                yield from batch.news()
            finally:
                self._abandon()

    def _add(self) -> Decoder:
        decoder = Decoder(self.memory_limit_bytes, self.timeout_s)
        self._selector.register(decoder.socket, selectors.EVENT_READ, decoder)
        self._decoders.append(decoder)
        return decoder

    def _replace(self, decoder: Decoder) -> None:
        """Start another process in place of one that is about to be ended."""
        self._selector.unregister(decoder.socket)
        self._decoders.remove(decoder)
        self._add()

    def _assign(self, batch: "_Batch") -> None:
        # Processes that are up go first: after a replacement the others need not wait for it.
        for decoder in sorted(self._decoders, key=lambda decoder: not decoder.ready):
            if decoder.task is None and batch.waiting:
                if not decoder.send(batch.request(batch.waiting[0])):
                    self._bury(decoder, batch)
                    continue
                decoder.task = batch.waiting.popleft()
                allowed = self.timeout_s if decoder.ready else _START_TIMEOUT_S
                decoder.deadline = time.monotonic() + allowed

    def _collect(self, batch: "_Batch") -> None:
        deadlines = [decoder.deadline for decoder in self._decoders if decoder.task is not None]
        if not deadlines:
            return
        wait = max(0.0, min(deadlines) - time.monotonic())
        for key, _ in self._selector.select(wait):
            decoder: Decoder = key.data
            try:
                for body in decoder.receive():
                    self._take(decoder, body, batch)
            except EOFError:
                self._bury(decoder, batch)
            except protocol.ProtocolError:
                logger.exception("A decoder process was replaced")
                self._fail(decoder, batch, damaged("its pixels cannot be decoded"))

    def _take(self, decoder: Decoder, body: bytes, batch: "_Batch") -> None:
        if body == protocol.READY:
            decoder.ready = True
            decoder.deadline = time.monotonic() + self.timeout_s
            self._failed_starts = 0
            return
        if decoder.task is None:
            raise protocol.ProtocolError("A decoder answered without being asked")
        answer = protocol.decode_answer(body)
        if isinstance(answer, PreparedImage) and answer.thumbnail_error:
            logger.warning("A thumbnail was not written: %s", answer.thumbnail_error)
        batch.finish(decoder.task, answer)
        decoder.task = None
        decoder.served += 1
        if decoder.served >= _MAX_SERVED:
            self._replace(decoder)
            decoder.end()

    def _expire(self, batch: "_Batch") -> None:
        now = time.monotonic()
        for decoder in list(self._decoders):
            if decoder.task is None or decoder.deadline > now:
                continue
            if decoder.ready:
                reason = f"The image took more than {self.timeout_s:g} seconds to decode."
                self._fail(decoder, batch, ImageRefused("decode_timeout", reason))
            else:
                self._bury(decoder, batch)

    def _fail(self, decoder: Decoder, batch: "_Batch", refusal: ImageRefused) -> None:
        """Kill a decoder and refuse the image it had in hand."""
        self._replace(decoder)
        decoder.kill()
        if decoder.task is not None:
            batch.finish(decoder.task, refusal)

    def _bury(self, decoder: Decoder, batch: "_Batch") -> None:
        """Replace a decoder that ended by itself, and find out whether its image was the cause."""
        self._replace(decoder)
        ended_by = decoder.end()
        if not decoder.ready:
            self._failed_starts += 1
            if self._failed_starts >= _MAX_FAILED_STARTS:
                raise DecoderPoolError(
                    f"Decoder processes end while they start ({ended_by or 'see their output'}). "
                    f"Check that Pillow and NumPy are installed and that memory is left."
                )
        logger.warning("Decoder %d ended (%s) and was replaced", decoder.pid, ended_by)
        if decoder.task is not None and not decoder.ready:
            # It has not looked at the image yet.
            batch.waiting.appendleft(decoder.task)
        elif decoder.task is not None:
            batch.lost(decoder.task, ended_by, may_retry=ended_by in _FOREIGN_SIGNALS)

    def _abandon(self) -> None:
        """After an exception (Ctrl-C): a decoder with work in hand would answer the next batch."""
        for decoder in [decoder for decoder in self._decoders if decoder.task is not None]:
            self._replace(decoder)
            decoder.kill()


class _Batch:
    """The images of one call: which wait, and what became of the others."""

    def __init__(self, paths: Sequence[PathPair]) -> None:
        self._paths = paths
        self._news: list[tuple[int, Answer]] = []
        self._retried: set[int] = set()
        self.waiting = deque(range(len(paths)))
        self.unfinished = len(paths)

    def request(self, task: int) -> bytes:
        return protocol.encode_request(*self._paths[task])

    def finish(self, task: int, answer: Answer) -> None:
        self._news.append((task, answer))
        self.unfinished -= 1

    def lost(self, task: int, ended_by: signal.Signals | None, *, may_retry: bool) -> None:
        """An image whose decoder ended: once more if that may have been chance, else refused."""
        if may_retry and task not in self._retried:
            self._retried.add(task)
            self.waiting.appendleft(task)
        elif ended_by == signal.SIGKILL:
            reason = "Decoding the image ended its process, most likely for want of memory."
            self.finish(task, ImageRefused("decode_memory", reason))
        elif ended_by == signal.SIGXCPU:
            self.finish(task, ImageRefused("decode_timeout", "The image took too long to decode."))
        else:
            self.finish(task, damaged("decoding it ended the decoder"))

    def news(self) -> list[tuple[int, Answer]]:
        """What has become known since the last call."""
        news, self._news = self._news, []
        return news
