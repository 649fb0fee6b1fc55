"""A Celery worker that answers doorbells as ours does, and does nothing with what it claims but finish it."""

import os
import secrets
from typing import Any

from celery import Celery  # pyright: ignore[reportMissingTypeStubs]

from shared.queue import commands, keys
from shared.queue.connect import open_sync
from shared.queue.execute import run_sync
from tests.integration.queue.line import LEASE_MS, MEGAPIXEL, RETENTION_S, SUCCESS

app: Any = Celery("answering", broker=os.environ["REDIS_URL"])
app.conf.update(
    task_acks_late=False, worker_disable_prefetch=True, task_ignore_result=True, task_default_queue=keys.DOORBELL
)
_redis = open_sync(os.environ["REDIS_URL"])


@app.task(name=keys.TASK)
def generate() -> None:
    while attempt := run_sync(
        _redis,
        commands.claim(
            "w", secrets.token_hex(16), budget_px=100 * MEGAPIXEL, lease_ms=LEASE_MS, retention_s=RETENTION_S
        ),
    ):
        run_sync(_redis, commands.finish(attempt.held, SUCCESS, retention_s=RETENTION_S))
