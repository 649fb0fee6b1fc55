"""Whose room a body takes, and how long one that does not come is waited for. Time is the tests' own."""

import asyncio
from collections.abc import Iterator

import pytest
from starlette.requests import Request
from starlette.types import Message

from api.body import Room, arriving, received
from shared.errors import ServiceUnavailable, TooSlow

MIB = 1024 * 1024


def _fill(room: Room, tenant: str) -> int:
    """How much more it gets."""
    count = 0
    while True:
        try:
            room.take(tenant, 1)
        except ServiceUnavailable:
            return count
        count += 1


def test_a_tenant_gets_half_of_what_the_others_leave() -> None:
    room = Room(256)
    assert [_fill(room, tenant) for tenant in ("a", "b", "a", "c")] == [128, 64, 0, 32]
    room.give("a", 128)
    assert [_fill(room, tenant) for tenant in ("b", "c")] == [48, 40]  # half of 224, and of 144
    room.give("b", 112)
    room.give("c", 72)
    assert _fill(room, "c") == 128


class Line:
    """A caller whose pieces each take as long to come as is said, by the loop's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *pieces: tuple[float, int]) -> None:
        loop = asyncio.get_running_loop()
        self.now_s = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self.now_s)
        self._pieces: Iterator[tuple[float, int]] = iter(pieces)

    async def receive(self) -> Message:
        after_s, size_bytes = next(self._pieces, (0, 0))
        self.now_s += after_s
        for _ in range(3):  # rounds of the loop, in which a timer that is due goes off
            await asyncio.sleep(0)
        return {"type": "http.request", "body": bytes(size_bytes), "more_body": size_bytes > 0}

    def call(self) -> Request:
        return Request({"type": "http", "method": "POST", "headers": []}, self.receive)


async def _comes(line: Line) -> int:
    return sum([len(chunk) async for chunk in arriving(line.call())])


@pytest.mark.parametrize(
    "pieces",
    [
        [(31, 1)],
        [(0, 64 * MIB), (31, 1)],
        [(0, 64 * MIB), *[(20, 1)] * 2],
        [(1, 4096)] * 61,
        [(0, 64 * MIB), *[(1, 4096)] * 61],
    ],
    ids=["silent", "silent after much", "hardly awake after much", "slow", "slow after much"],
)
async def test_a_body_that_does_not_come_on_is_given_up(
    monkeypatch: pytest.MonkeyPatch, pieces: list[tuple[float, int]]
) -> None:
    with pytest.raises(TooSlow):
        await _comes(Line(monkeypatch, *pieces))


@pytest.mark.parametrize(
    "pieces",
    [[(1, 9000)] * 300, [(29, 256 * 1024)] * 20, [(29, 1), (0, 64 * MIB), (29, 1)]],
    ids=["a slow line", "with pauses", "twice silent"],
)
async def test_a_body_that_comes_on_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, pieces: list[tuple[float, int]]
) -> None:
    assert await _comes(Line(monkeypatch, *pieces)) == sum(size_bytes for _, size_bytes in pieces)


async def test_what_the_reader_does_in_between_costs_the_caller_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    line, came = Line(monkeypatch, *[(1, MIB)] * 3), 0
    async for chunk in arriving(line.call()):
        came += len(chunk)
        line.now_s += 60
    assert came == 3 * MIB


async def test_the_room_of_a_body_that_was_given_up_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(4 * MIB)
    line = Line(monkeypatch, (0, 2 * MIB), (31, 1))
    with pytest.raises(TooSlow):
        async with received(line.call(), room, "a", 2 * MIB):
            raise AssertionError
    room.take("a", 2 * MIB)
