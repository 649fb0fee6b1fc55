"""Rounds go on whatever happens in one of them, and stop when they are told."""

import threading
from collections.abc import Callable

import pytest

from shared.errors import ServiceUnavailable
from worker.rounds import Rounds

DEADLINE_S = 10


class Work:
    """Fails as told, and lets a test wait for a number of rounds."""

    def __init__(self, *errors: Exception | None) -> None:
        self._errors = list(errors)
        self._done = threading.Semaphore(0)

    def __call__(self) -> None:
        self._done.release()
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise error

    def happened(self, times: int) -> bool:
        return all(self._done.acquire(timeout=DEADLINE_S) for _ in range(times))


def going(work: Callable[[], object], **options: float) -> Rounds:
    rounds = Rounds("test", work, **{"every_s": 0.01, **options})  # pyright: ignore[reportArgumentType]
    rounds.start()
    return rounds


def test_go_on_after_any_failure(caplog: pytest.LogCaptureFixture) -> None:
    rounds = going(work := Work(ServiceUnavailable(), ServiceUnavailable(), None, ValueError("x"), None))
    assert work.happened(6)
    rounds.stop()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["test: Redis does not answer", "test: Redis answers again", "test: a round failed"]


def test_the_first_is_at_once_and_the_next_when_hurried() -> None:
    rounds = going(work := Work(), every_s=1000)
    assert work.happened(1)
    rounds.hurry()
    assert work.happened(1)
    rounds.stop()


def test_a_failed_round_is_soon_repeated() -> None:
    rounds = going(work := Work(ServiceUnavailable()), every_s=1000, again_s=0.01)
    assert work.happened(2)
    rounds.stop()


def test_a_round_may_stop_itself() -> None:
    stopped = threading.Event()

    def work() -> None:
        rounds.stop()
        stopped.set()

    rounds = Rounds("test", work, every_s=0.01)
    rounds.start()
    assert stopped.wait(DEADLINE_S)
