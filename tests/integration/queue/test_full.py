"""A Redis that is full refuses new work, and lets the work that it has be kept alive and come to its end."""

from collections.abc import Iterator

import pytest

from shared.errors import ServiceUnavailable
from shared.queue import commands
from shared.queue.records import Finish, Lease, Note, StoredKey
from shared.queue.states import State
from tests.integration.queue.line import LEASE_MS, Line


@pytest.fixture
def full(line: Line) -> Iterator[Line]:
    """Two requests run and one waits; then there is no more room."""
    for id in ("a", "b", "c"):
        line.submit(id, webhook_url="http://receiver")
    for id in ("a", "b"):
        assert line.take().id == id
    _limit(line, 1)
    yield line
    _limit(line, 0)


def _limit(line: Line, max_bytes: int) -> None:
    line.redis.execute_command("CONFIG", "SET", "maxmemory", max_bytes)


def test_new_work_is_refused(full: Line) -> None:
    with pytest.raises(ServiceUnavailable):
        full.submit("d")
    with pytest.raises(ServiceUnavailable):
        full.do(commands.hold_picture("inputs/d/1"))
    with pytest.raises(ServiceUnavailable):
        full.do(commands.expect_files(["uploads/d/1"], 10**15))


def test_what_runs_is_kept_and_ends_with_its_last_words(full: Line) -> None:
    claimed = full.take()
    assert full.renew(claimed)[claimed.id] is Lease.KEPT
    full.report(claimed, step=1, steps=2)
    full.do(commands.expect_files(["results/c/0.png"], 10**15, though_full=True))
    full.finish(claimed, last=Note(step=2, steps=2, message="done"))
    assert full.view("c").state is State.SUCCEEDED
    assert full.states("c") == ["queued", "running", "succeeded"]
    (told,) = full.do(commands.deliver(limit=9, lease_ms=LEASE_MS))
    full.do(commands.settle(told.id, told.attempt, retry_in_ms=None, delivered=True))


def test_what_waits_and_what_runs_can_be_cancelled_and_rescued(full: Line) -> None:
    _limit(full, 0)
    full.lapse("a")
    full.lapse("b")
    full.bury()
    _limit(full, 1)
    full.cancel("c")
    full.cancel("b")
    assert full.view("c").state is State.CANCELLED
    full.rescue()
    assert (full.view("a").state, full.view("b").state) == (State.QUEUED, State.CANCELLED)
    assert full.finish(full.take()) is Finish.ACCEPTED


def test_a_key_can_be_shut_out(full: Line) -> None:
    """It may be the one that filled it."""
    found = full.do(commands.stored_keys())
    assert full.do(commands.keep_key(StoredKey("mallory", (), revoked=True), version=found.version))
    assert full.do(commands.stored_keys()).keys == (StoredKey("mallory", (), revoked=True),)
