"""What everything in the GPU process works with. Made once by `worker.app`, read-only afterwards."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from shared.egress import Allow
from shared.errors import ServiceUnavailable
from shared.files.base import Store
from shared.queue import execute
from shared.queue.commands import Command
from shared.queue.connect import SyncRedis
from worker.aside import Aside
from worker.engine.job import Job, OnProgress, Painting
from worker.engine.ticket import Stats
from worker.settings import WorkerSettings

T = TypeVar("T")

_AGAIN_S: Final = 0.25


class Painter(Protocol):
    """What the shell asks of `worker.engine.engine.Engine`, whatever its runner is."""

    @property
    def takes_jobs(self) -> bool: ...
    def submit(self, job: Job, on_progress: OnProgress) -> Future[Painting]: ...
    def cancel(self, id: str) -> None: ...
    def capacity_px(self, width: int, height: int) -> int: ...
    def running_px(self) -> int: ...
    def rate(self) -> float: ...
    def stats(self) -> Stats: ...
    def start(self) -> None: ...
    def close(self, *, wait: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class Context:
    settings: WorkerSettings
    worker: str
    """Unique to this process: it names the presence record and the channel of cancellations."""
    redis: SyncRedis
    store: Store
    allow: Allow
    engine: Painter
    device: str
    """What the model is on, as the fleet shows it."""
    aside: Aside
    """Downloads and decodings run here, where a request that is stopped can leave them behind."""
    encoders: ThreadPoolExecutor
    """The pictures of one request are encoded and stored side by side."""

    def run(self, command: Command[T]) -> T:
        """Runs one queue command. Raises what it raises, and `ServiceUnavailable` where Redis cannot answer."""
        return execute.run_sync(self.redis, command)

    def insist(self, command: Command[T], still: Callable[[], bool]) -> T:
        """As `run`, again and again while Redis cannot answer and `still` says so. For what may be run twice: an answer
        that did not come says nothing about what was done."""
        while True:
            try:
                return self.run(command)
            except ServiceUnavailable:
                if not still():
                    raise
                time.sleep(_AGAIN_S)
