"""Work that breaks off is begun anew, and an outbreak is said once."""

import asyncio
from itertools import pairwise

import pytest

from api import upkeep
from api.upkeep import keep_up


async def test_it_goes_on_and_says_each_outbreak_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upkeep, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(upkeep, "_LONGEST_PAUSE_S", 0.05)
    begun: list[int] = []
    over = asyncio.Event()

    async def work() -> None:
        begun.append(len(begun))
        if len(begun) == 4:  # it goes well for a while
            await asyncio.sleep(0.1)
        if len(begun) == 8:
            over.set()
            await asyncio.Event().wait()
        raise ZeroDivisionError

    task = asyncio.create_task(keep_up("sums", work))
    async with asyncio.timeout(10):
        await over.wait()
    assert caplog.text.count("sums: broke off") == 2
    assert "ZeroDivisionError" in caplog.text
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_pauses_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(upkeep, "_LONGEST_PAUSE_S", 0.2)
    clock = asyncio.get_running_loop().time
    at_s: list[float] = []
    over = asyncio.Event()

    async def work() -> None:
        at_s.append(clock())
        if len(at_s) == 7:
            over.set()
        raise ZeroDivisionError

    task = asyncio.create_task(keep_up("sums", work))
    async with asyncio.timeout(10):
        await over.wait()
    task.cancel()
    pauses_s = [later - sooner for sooner, later in pairwise(at_s)]
    assert pauses_s[0] < pauses_s[3] < pauses_s[5]
    assert 0.2 <= pauses_s[5] < 2
