"""Turns at what may take long in a thread: all calls share those threads, and no tenant is to hold all of them."""

from asyncio import Semaphore
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

_AT_ONCE: Final = 24
_OF_A_TENANT: Final = 8
"""Of the 40 threads that there are."""


class Turns:
    """So many at once, and of each tenant; who comes beyond that waits in no thread. Belongs to one event loop."""

    def __init__(self) -> None:
        self._all = Semaphore(_AT_ONCE)
        self._turns = WeakValueDictionary[str, Semaphore]()

    @asynccontextmanager
    async def of(self, tenant: str) -> AsyncGenerator[None]:
        """To be held for as long as the thread is."""
        async with self._turns.setdefault(tenant, Semaphore(_OF_A_TENANT)), self._all:
            yield
