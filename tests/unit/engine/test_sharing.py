"""Who has the device next."""

# pyright: reportPrivateUsage=false
import math
import threading
import time
from typing import Any, cast

from tests.unit.engine.jobs import job, unheard
from worker.engine.fake import FakeState
from worker.engine.protocol import BatchKey
from worker.engine.sharing import Sharing
from worker.engine.ticket import Ticket


class Unfair:
    """A lock that whoever waits in a `with` gets late."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.acquire, self.release = self._lock.acquire, self._lock.release

    def __enter__(self) -> None:
        time.sleep(0.1)
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def test_a_decoding_that_waits_for_the_device_has_it_before_the_next_step() -> None:
    """Whoever lets a lock go and takes it again at once may well get it."""
    sharing = Sharing[FakeState](threading.Condition(), hang_s=None)
    sharing._lock = cast("Any", Unfair())
    order: list[str] = []

    def decode() -> None:
        with sharing.alone(Ticket(job(), BatchKey(8, 8, "fake"), unheard, 0.0)):
            order.append("decode")

    finisher = threading.Thread(target=decode)
    with sharing.at_work():
        finisher.start()
        until_s = time.monotonic() + 10
        while sharing.decoding is None or sharing.decoding[1] != math.inf:
            assert time.monotonic() < until_s
            time.sleep(0.001)
    with sharing.at_work():
        order.append("step")
    finisher.join(10)
    assert order == ["decode", "step"]
