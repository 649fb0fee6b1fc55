"""Who may join the running batch, and whose step is next. Pure bookkeeping: no clock, no threads, no torch.

Sizes cannot share a step, so they take turns: the size that was served the fewest step-pixels so far is next, which
gives every size in flight an equal share of the device and starves none. Having been away earns a size no credit, and
what it was served beyond its share is not forgotten while others go on. Inside one size everybody who runs is
stepped together, and the waiting join in the order they came, as soon as there is room: never later to gather company.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from worker.engine.protocol import BatchKey


class Entry(Protocol):
    @property
    def key(self) -> BatchKey: ...
    @property
    def pictures(self) -> int: ...


E = TypeVar("E", bound=Entry)


@dataclass(slots=True)
class _Size(Generic[E]):
    waiting: deque[E] = field(default_factory=deque[E])
    running: list[E] = field(default_factory=list[E])
    served_px: int = 0

    @property
    def pictures(self) -> int:
        return sum(entry.pictures for entry in self.running)


class Scheduler(Generic[E]):
    """`slots(key)` is how many pictures of a size may run together. Entries are compared by identity."""

    def __init__(self, slots: Callable[[BatchKey], int]) -> None:
        self._slots = slots
        self._sizes: dict[BatchKey, _Size[E]] = {}
        self._left: dict[BatchKey, int] = {}
        """Step-pixels that sizes had been served when their last entry went, as long as that is beyond their share."""

    def add(self, entry: E) -> None:
        size = self._sizes.get(entry.key)
        if size is None:
            size = self._sizes[entry.key] = _Size(served_px=self._begin(entry.key))
        size.waiting.append(entry)

    def admit(self) -> list[E]:
        """Moves whoever fits from waiting to running and returns them.

        A request with more pictures than the cap runs too, alone in its size; its step is cut into several calls.
        """
        joined: list[E] = []
        for key, size in self._sizes.items():
            free = self._slots(key) - size.pictures
            while size.waiting and (size.waiting[0].pictures <= free or not size.running):
                entry = size.waiting.popleft()
                size.running.append(entry)
                free -= entry.pictures
                joined.append(entry)
        return joined

    def turn(self) -> Sequence[E]:
        """The running requests of the size whose turn it is, charged for one step. Empty when nobody runs."""
        active = [(size.served_px, key) for key, size in self._sizes.items() if size.running]
        if not active:
            return ()
        key = min(active, key=lambda pair: pair[0])[1]
        size = self._sizes[key]
        size.served_px += size.pictures * key.picture_px
        return tuple(size.running)

    def remove(self, entry: E) -> None:
        """Takes it out, wherever it is."""
        size = self._sizes.get(entry.key)
        if size is None:
            return
        size.running = [other for other in size.running if other is not entry]
        size.waiting = deque(other for other in size.waiting if other is not entry)
        if not size.running and not size.waiting:
            del self._sizes[entry.key]
            self._left[entry.key] = size.served_px

    def entries(self) -> list[E]:
        return [entry for size in self._sizes.values() for entry in (*size.running, *size.waiting)]

    def running_px(self) -> int:
        """Pixels of all pictures that wait or run here."""
        return sum(entry.pictures * entry.key.picture_px for entry in self.entries())

    def _begin(self, key: BatchKey) -> int:
        """Where a size that comes (back) is to start: level with the least served one, or where it left if that is
        later."""
        least_px = min((size.served_px for size in self._sizes.values()), default=0)
        if not self._sizes:
            self._left.clear()
        self._left = {left: served_px for left, served_px in self._left.items() if served_px > least_px}
        return self._left.pop(key, least_px)
