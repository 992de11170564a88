"""What runs in the Celery worker of the `classify` queue.

The database is the queue, and rings come by a list in Redis that a thread of the worker waits at
(services/doorbell.py): a message through Celery takes several times as long. Celery keeps the
process: it starts, watches, and ends it in good order.
"""

import logging
import os
import signal
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutdown

from classifier.artifact import ModelArtifactError
from specimens.services import doorbell
from specimens.services.attendance import attend
from specimens.services.classification import ClassificationWorker

logger = logging.getLogger(__name__)

_stopped = threading.Event()
_thread: threading.Thread | None = None


@shared_task(name="specimens.tasks.classify_due")
def classify_due() -> None:
    """Ring for what is due: for schedulers that speak Celery. May run twice, or never."""
    doorbell.ring()


@worker_ready.connect
def start_classifying(sender: Any, **_: object) -> None:
    """Load the model, then classify, in processes that consume the `classify` queue."""
    global _thread
    if "classify" not in sender.app.amqp.queues.consume_from:
        return
    try:
        worker = ClassificationWorker().__enter__()
    except ModelArtifactError as error:
        # Celery would log it and stay up, alive and of no use.
        raise SystemExit(str(error)) from error
    _thread = threading.Thread(target=_classify, args=[worker], name="classify")
    _thread.start()


def _classify(worker: ClassificationWorker) -> None:
    try:
        with doorbell.listen() as bell:
            attend(worker, bell, stopped=_stopped, sweeps=False)
    except BaseException:
        # Without this thread the process would be alive and of no use: end it, to be started anew.
        logger.exception("the worker cannot go on")
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        worker.__exit__(None, None, None)


@worker_shutdown.connect
def stop_classifying(**_: object) -> None:
    """Finish what is in hand, stop the decoders, and take the heartbeat back."""
    _stopped.set()
    if _thread is not None:
        _thread.join()
