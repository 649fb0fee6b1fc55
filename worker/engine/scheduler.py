"""Who may join the running batch, and whose step is next. Pure bookkeeping: no clock, no threads, no torch.

Sizes cannot share a step, so they take turns, and each step costs its size about what it would take the smallest of its
requests alone: the pixels of its pictures, and the calls' own cost. The size with the least cost so far is next. So
whoever is in flight is slowed down alike, and neither small pictures nor much company get ahead of the others; only a
request of many pictures does in the company of one of few. Having been away earns a size no credit. Inside one size
everybody who runs is stepped together, and the waiting join in the order they came, as soon as there is room: never
later to gather company.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from worker.engine.protocol import BatchKey

CALL_PX: Final = 256 * 256
"""What a call costs however small its pictures are, in pixels. Between 20,000 (a processor) and 250,000 (a large GPU),
where a picture of 1024² takes as long as 1,048,576: nobody's share is wrong by more than a small factor."""


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
    cost_px: float = 0.0

    @property
    def pictures(self) -> int:
        return sum(entry.pictures for entry in self.running)


class Scheduler(Generic[E]):
    """`slots(key)` is how many pictures of a size may run together. Entries are compared by identity."""

    def __init__(self, slots: Callable[[BatchKey], int]) -> None:
        self._slots = slots
        self._sizes: dict[BatchKey, _Size[E]] = {}
        self._now_px = 0.0
        """What a size that was always there has had: it goes on by each one's share of a step. Whoever comes begins
        with that, so sizes that come and go do not overtake who waits for long."""

    def add(self, entry: E) -> None:
        size = self._sizes.get(entry.key)
        if size is None:
            size = self._sizes[entry.key] = _Size(cost_px=self._now_px)
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
        active = [(size.cost_px, key) for key, size in self._sizes.items() if size.running]
        if not active:
            return ()
        key = min(active, key=lambda pair: pair[0])[1]
        size = self._sizes[key]
        pictures = min(entry.pictures for entry in size.running)
        step_px = -(-pictures // self._slots(key)) * CALL_PX + pictures * key.picture_px
        self._now_px += step_px / len(active)
        size.cost_px += step_px
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

    def entries(self) -> list[E]:
        return [entry for size in self._sizes.values() for entry in (*size.running, *size.waiting)]
