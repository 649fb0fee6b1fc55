"""Files whose time has come go, whatever is the matter with others."""

import pytest

from shared.files.base import FileMissing, StoreUnavailable
from shared.queue import commands, keys
from tests.integration.worker.floor import Floor
from worker.sweeps import Sweep


def put(floor: Floor, key: str, due_ms: int) -> str:
    floor.store.put(key, b"content", content_type="image/png", expires_at=None)
    floor.do(commands.expect_files([key], due_ms))
    return key


def block(floor: Floor, key: str, due_ms: int) -> str:
    """A folder lies where the file should: it cannot be deleted as one."""
    (floor.folder / "files" / key / "in").mkdir(parents=True)
    floor.do(commands.expect_files([key], due_ms))
    return key


def is_there(floor: Floor, key: str) -> bool:
    try:
        floor.store.stat(key)
    except FileMissing:
        return False
    return True


def test_one_that_cannot_be_deleted_does_not_keep_those_behind_it(floor: Floor) -> None:
    stuck = block(floor, "results/a/1/0.png", 1)
    others = [put(floor, f"results/b/{number}/0.png", 2) for number in range(3)]
    Sweep(floor.redis, floor.store).round()
    assert [key for key in others if is_there(floor, key)] == []
    assert floor.redis.execute_command("ZRANGE", keys.FILES, 0, -1) == [stuck]
    assert floor.do(commands.due_files(9)) == [], "it is tried again later"


def test_many_that_cannot_be_deleted_are_given_up_in_turns(floor: Floor) -> None:
    for number in range(7):
        block(floor, f"results/a/{number}/0.png", 1)
    last = put(floor, "results/b/1/0.png", 2)
    sweep = Sweep(floor.redis, floor.store)
    sweep.round()
    assert is_there(floor, last), "after so many failures it may be the store that is away"
    sweep.round()
    assert not is_there(floor, last)


def test_what_is_not_due_stays(floor: Floor) -> None:
    key = put(floor, "results/b/1/0.png", 10**15)
    Sweep(floor.redis, floor.store).round()
    assert is_there(floor, key)


def test_what_was_forgotten_is_not_put_off(floor: Floor) -> None:
    assert floor.do(commands.put_off_files(["results/a/1/0.png"], by_ms=1000)) == 0
    assert floor.redis.execute_command("EXISTS", keys.FILES) == 0


@pytest.mark.parametrize("error", [None, StoreUnavailable()], ids=["deleted", "put off"])
def test_what_is_promised_for_longer_meanwhile_keeps_its_time(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    key = put(floor, "uploads/a/1", 1)

    def delete(key: str) -> None:
        floor.do(commands.expect_files([key], 10**15))
        if error:
            raise error

    monkeypatch.setattr(floor.store, "delete", delete)
    Sweep(floor.redis, floor.store).round()
    assert floor.redis.execute_command("ZSCORE", keys.FILES, key) == 10**15
