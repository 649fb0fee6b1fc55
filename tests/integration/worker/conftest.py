"""A floor with a queue and a store, and real worker processes that are gone after the test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.worker.floor import Floor, Worker

Spawn = Callable[..., Worker]


@pytest.fixture
def floor(redis_url: str, tmp_path: Path) -> Iterator[Floor]:
    floor = Floor(redis_url, tmp_path)
    yield floor
    floor.close()


@pytest.fixture
def spawn(floor: Floor) -> Iterator[Spawn]:
    """Starts `worker.app` (or another module) and returns when it is ready."""
    workers: list[Worker] = []

    def start(module: str = "worker.app", *, ready: bool = True, **environment: str) -> Worker:
        worker = Worker(module, floor.folder, floor.redis_url, **environment)
        workers.append(worker)
        if ready:
            worker.said('"ready"')
        return worker

    yield start
    for worker in workers:
        worker.close()
