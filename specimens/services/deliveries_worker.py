"""The delivering process: one lane for each destination, so that none waits for another."""

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import Final

from django.conf import settings
from django.db import DatabaseError, connection

from specimens.models import DelivererHeartbeat
from specimens.selectors import clock
from specimens.services.deliveries_queue import (
    claim_delivery,
    destinations_with_work,
    extend_leases,
    release_expired_deliveries,
    seconds_to_next,
)
from specimens.services.deliveries_sending import attempt_delivery

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 20.0


class DeliveryWorker:
    """Sends what is due, a thread for each destination. Use as a context manager; then `sweep`."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self._lanes: dict[int, _Lane] = {}
        self._heart = _Heart(self.name)

    def __enter__(self) -> "DeliveryWorker":
        self._heart.start()
        logger.info("deliverer %s is ready", self.name)
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let each lane end the delivery it has in hand, within PATIENCE_SECONDS."""
        for lane in self._lanes.values():
            lane.stop()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for lane in self._lanes.values():
            lane.join(max(0.0, deadline - time.monotonic()))
        self._heart.stop()

    def sweep(self) -> float:
        """Take back what dead workers held, wake the lanes; return when to look again, in s."""
        release_expired_deliveries()
        for destination_id in destinations_with_work():
            lane = self._lanes.get(destination_id)
            if lane is None or not lane.is_alive():
                lane = _Lane(destination_id, self.name, self._heart)
                self._lanes[destination_id] = lane
                lane.start()
            lane.wake()
        return seconds_to_next(at_most=settings.SWEEP_SECONDS)


class _Lane(threading.Thread):
    """Sends to one destination, one after the other, whenever it is woken."""

    def __init__(self, destination_id: int, worker: str, heart: "_Heart") -> None:
        super().__init__(name=f"lane-{destination_id}", daemon=True)
        self._destination_id = destination_id
        self._worker = worker
        self._heart = heart
        self._woken = threading.Event()
        self._stopping = False

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopping = True
        self._woken.set()

    def run(self) -> None:
        while not self._stopping:
            self._woken.wait()
            self._woken.clear()
            try:
                while not self._stopping and self._send_next():
                    pass
            except DatabaseError as error:
                # What is in hand comes back when its lease runs out; the sweep wakes us again.
                logger.warning("the database cannot be used (%s); trying again", error)
            finally:
                connection.close()

    def _send_next(self) -> bool:
        delivery = claim_delivery(destination_id=self._destination_id, worker=self._worker)
        if delivery is None or delivery.lease_token is None:
            return False
        with self._heart.holding(delivery.lease_token):
            self._heart.count(arrived=attempt_delivery(delivery=delivery))
        return True


class _Heart:
    """A thread that says the process lives and prolongs the leases it holds."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._tokens: set[uuid.UUID] = set()
        self._counters = {"delivered": 0, "failed": 0}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._interval = max(0.5, min(3.0, settings.LEASE_SECONDS / 3))

    @contextmanager
    def holding(self, token: uuid.UUID) -> Iterator[None]:
        with self._lock:
            self._tokens.add(token)
        try:
            yield
        finally:
            with self._lock:
                self._tokens.discard(token)

    def count(self, *, arrived: bool) -> None:
        with self._lock:
            self._counters["delivered" if arrived else "failed"] += 1

    def start(self) -> None:
        day_ago = clock.now() - timedelta(days=1)
        DelivererHeartbeat.objects.filter(seen_at__lt=day_ago).delete()
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        DelivererHeartbeat.objects.filter(worker=self._worker).delete()

    def _beat_on(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._beat()
            except DatabaseError as error:
                logger.warning("heartbeat: the database cannot be reached (%s)", error)
            connection.close()

    def _beat(self) -> None:
        now = clock.now()
        with self._lock:
            tokens, counters = list(self._tokens), dict(self._counters)
        DelivererHeartbeat.objects.update_or_create(
            worker=self._worker,
            defaults={"seen_at": now, "counters": counters},
            create_defaults={"seen_at": now, "started_at": now},
        )
        if tokens:
            extend_leases(tokens=tokens)
