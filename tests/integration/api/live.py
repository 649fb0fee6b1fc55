"""The API on a real port, in a thread of the test's process."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager

from api.server import make_server
from api.settings import ApiSettings
from tests.chaos.wire import Switchboard, Wire
from tests.conftest import Valkey

_START_S = 20


@contextmanager
def live(settings: ApiSettings) -> Generator[str]:
    """Yields its address, without a trailing slash, while it accepts calls."""
    server = make_server(settings.model_copy(update={"port": 0}))
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        deadline = time.monotonic() + _START_S
        while not server.started:
            assert thread.is_alive(), "the API did not start"
            assert time.monotonic() < deadline, "the API took too long to start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_START_S)


@asynccontextmanager
async def wired(settings: ApiSettings, valkey: Valkey) -> AsyncGenerator[tuple[str, Switchboard]]:
    """Its address, and what can hold back each of its commands to Redis, or the answer."""
    board = Switchboard(lambda _: None)
    wire = Wire("api", valkey.port, board)
    await wire.open()
    server = ExitStack()
    settings = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{wire.port}/0"})
    try:
        yield await asyncio.to_thread(server.enter_context, live(settings)), board
    finally:
        await asyncio.to_thread(server.close)
        await wire.close()
