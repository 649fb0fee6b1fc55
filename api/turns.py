"""Turns at what may take long in a thread: all calls share those threads, and no tenant is to hold all of them."""

from asyncio import Semaphore
from typing import Final
from weakref import WeakValueDictionary

_AT_ONCE: Final = 8
"""Of the 40 threads that there are."""


class Turns:
    """So many of each tenant at once; who comes beyond that waits in no thread. Belongs to one event loop."""

    def __init__(self) -> None:
        self._turns = WeakValueDictionary[str, Semaphore]()

    def of(self, tenant: str) -> Semaphore:
        """To be held for as long as the thread is."""
        return self._turns.setdefault(tenant, Semaphore(_AT_ONCE))
