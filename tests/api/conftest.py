"""The cast's tokens, and a real worker in the process of the test."""

from collections.abc import Iterator
from typing import Any

import pytest

from specimens.services import doorbell
from specimens.services.classification import ClassificationWorker
from tests.api.client import Api, token_of
from tests.factories import Cast
from tests.service import Service, running_service


@pytest.fixture
def api(cast: Cast) -> Api:
    """The hospital system's client: the integration role."""
    return Api(token_of(cast.integration))


@pytest.fixture
def unwatched(settings: Any) -> None:
    """Nobody waits for a worker: accepted images are answered with 202 at once."""
    settings.PREDICT_WAIT_SECONDS = 0


@pytest.fixture
def worker(
    transactional_db: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ClassificationWorker]:
    """A real worker with the shipped model; a ring makes it drain the queue before it returns."""
    settings.DECODER_PROCESSES = 1
    settings.ENGINE_THREADS = 1
    settings.BATCH_SIZE = 4
    with ClassificationWorker() as worker:
        monkeypatch.setattr(doorbell, "ring", lambda **_: worker.drain())
        yield worker


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service, as a person starts it, for the documents and for what it has to survive."""
    home = tmp_path_factory.mktemp("service")
    with running_service(home, WBCLAB_PREDICT_WAIT_SECONDS="60") as service:
        yield service
        log = service.log()
        assert "Traceback" not in log, log[-3000:]
