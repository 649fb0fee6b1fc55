"""Bells ring whatever goes wrong on the way: a poke that is lost costs seconds, a hub that ends costs all of them."""

import asyncio
import logging
from contextlib import suppress

import pytest

from api.hub import Hub
from api.upkeep import keep_up
from shared.queue.connect import open_async
from shared.queue.pokes import Pokes
from tests.chaos.wire import Switchboard, Wire
from tests.conftest import Valkey
from tests.integration.queue.line import Line

NONSENSE = b":1\r\n"
"""No message of pub/sub is a number."""
SOON_S = 10.0


async def test_a_hub_outlives_an_answer_that_makes_no_sense(
    valkey: Valkey, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire("api", valkey.port, Switchboard(lambda _: None))
    await wire.open()
    redis, line = open_async(f"redis://127.0.0.1:{wire.port}/0"), Line(redis_url)
    hub = Hub(Pokes(redis))
    task = asyncio.create_task(keep_up("pokes", hub.run))
    async with hub.listen("a") as bell:
        line.submit("a")
        held = line.take()
        assert await bell.wait(SOON_S)
        for step in (1, 2):
            while await bell.wait(0.1):
                pass
            wire.say(NONSENSE)
            assert await bell.wait(SOON_S), "pokes may have been missed"
            line.report(held, step=step, steps=2)
            assert await bell.wait(SOON_S)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await redis.aclose()
    await wire.close()
    assert [record.levelno for record in caplog.records if "broke off" in record.message] == [logging.ERROR]
