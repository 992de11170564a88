"""Celery entries. A message carries nothing; each task may run twice, or never, without harm."""

from typing import Any

from celery import shared_task
from celery.signals import worker_ready, worker_shutdown

from classifier.artifact import ModelArtifactError
from specimens.services.classification import ClassificationWorker

_worker: ClassificationWorker | None = None


@shared_task(name="specimens.tasks.classify_due")
def classify_due() -> int:
    """Work until nothing is due. Runs in a process of the `classify` queue, solo pool."""
    return _the_worker().drain()


def _the_worker() -> ClassificationWorker:
    global _worker
    if _worker is None:
        _worker = ClassificationWorker().__enter__()
    return _worker


@worker_ready.connect
def load_model(sender: Any, **_: object) -> None:
    """Load the model before the first ring, in processes that consume the `classify` queue."""
    if "classify" not in sender.app.amqp.queues.consume_from:
        return
    try:
        worker = _the_worker()
    except ModelArtifactError as error:
        # Celery would log it and stay up, alive and of no use.
        raise SystemExit(str(error)) from error
    worker.drain()


@worker_shutdown.connect
def release_model(**_: object) -> None:
    """Stop the decoders and take the heartbeat back."""
    if _worker is not None:
        _worker.__exit__(None, None, None)
