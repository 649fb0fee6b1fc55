"""Celery's own command line starts the same worker."""

import signal
import sys

from tests.integration.worker.floor import Floor, Worker

WORKER = "worker --pool threads --concurrency 2 -Q image --without-gossip --without-mingle --without-heartbeat"


def test_celery_starts_it_too(floor: Floor) -> None:
    command = [sys.executable, "-m", "celery", "-A", "worker.app", *WORKER.split()]
    worker = Worker(command, floor.folder, floor.redis_url)
    try:
        worker.said('"ready"')
        assert floor.output(floor.submit())["seed"] == 7
        worker.signal(signal.SIGTERM)
        assert worker.exit_status() == 0
    finally:
        worker.close()
