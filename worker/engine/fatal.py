"""What a job's exception means: its own fault, or the engine's end."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from shared.errors import Fault, InternalFault, OutOfMemory
from worker.engine.job import Job
from worker.engine.ticket import Ticket

_log = logging.getLogger(__name__)


class Fatal(Exception):
    """The engine cannot go on, and who is why; `fault` makes theirs."""

    def __init__(self, problem: str, guilty: Sequence[Ticket[Any]], fault: Callable[[], Fault]) -> None:
        super().__init__(problem)
        self.guilty = guilty
        self.fault = fault


def exhausted(guilty: Sequence[Ticket[Any]], why: str) -> Fatal:
    return Fatal(f"out of memory, with nothing left to split: {why}", guilty, OutOfMemory)


def reason(error: Exception) -> str:
    """In the words of whoever said so first."""
    return str(error.__cause__ or error)


def fault_of(error: Exception, job: Job) -> Fault:
    """Without the frames of where it was raised: whoever keeps it would keep what they hold of the device's memory."""
    if isinstance(error, Fault):
        return type(error)(error.message)
    _log.error("job %s failed", job.id, exc_info=error)
    return InternalFault()
