"""The queue as a few lines of plain Python: what the real one is compared with. No clock: time passes by telling it."""

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from shared.queue.records import Cancellation, Finish, Lease
from shared.queue.scripts import LANE_SPAN, MAX_ATTEMPTS
from shared.queue.states import State

MAX_CRASHES = 3
COMPANY = (math.inf, 8, 1)
"""How many a worker has in hand at most, with one that crashed so often."""

Row = tuple[int, int, str]


@dataclass
class Request:
    id: str
    tenant: str
    lane: int
    cost: int
    webhook: bool
    retry: bool
    limit: int | None = None
    state: State = State.QUEUED
    place: int = 0
    number: int = 0
    attempts: int = 0
    crashes: int = 0
    claim: str | None = None
    worker: str = ""
    cancel_requested: bool = False
    delayed: bool = False
    parked: bool = False
    deadline: bool = False
    timed_out: bool = False
    lapsed: bool = False
    due: bool = False
    endings: int = 0
    history: list[State] = field(default_factory=list[State])

    @property
    def row(self) -> Row:
        return self.crashes, self.lane, self.tenant

    @property
    def company(self) -> float:
        return COMPANY[self.crashes]


@dataclass
class Model:
    requests: dict[str, Request] = field(default_factory=dict[str, Request])
    virtual: dict[int, int] = field(default_factory=lambda: {0: 0, 1: 0})
    finish_tags: dict[tuple[int, str], int] = field(default_factory=dict[tuple[int, str], int])
    present: set[str] = field(default_factory=set[str])
    claims: dict[str, Request] = field(default_factory=dict[str, Request])

    def queue(self) -> list[Request]:
        waiting = [r for r in self.requests.values() if r.state is State.QUEUED and not r.delayed and not r.parked]
        return sorted(waiting, key=lambda r: (r.place, r.id))

    def rows(self) -> dict[Row, list[str]]:
        rows: dict[Row, list[str]] = {}
        for request in self.queue():
            rows.setdefault(request.row, []).append(request.id)
        return rows

    def parked(self, tenant: str) -> list[Request]:
        waiting = [r for r in self.requests.values() if r.parked and r.tenant == tenant]
        return sorted(waiting, key=lambda r: (r.place, r.id))

    def running(self, tenant: str) -> int:
        return sum(r.state is State.RUNNING and r.tenant == tenant for r in self.requests.values())

    def in_hand(self, worker: str) -> list[Request]:
        return [r for r in self.requests.values() if r.state is State.RUNNING and r.worker == worker]

    def makes_room(self, worker: str) -> bool:
        """Whether it is the one with the least in hand."""
        return worker == min(self.present | {worker}, key=lambda name: (len(self.in_hand(name)), name))

    def is_full(self, request: Request) -> bool:
        return request.limit is not None and self.running(request.tenant) >= request.limit

    def position(self, id: str) -> int | None:
        request = self.requests[id]
        if request.state is not State.QUEUED:
            return None
        own = sum(other.place < request.place for other in self.parked(request.tenant))
        if request.delayed or request.parked:
            return own + sum(other.place < request.place for other in self.queue())
        return own + self.queue().index(request)

    def work(self) -> int:
        return sum(r.cost for r in self.requests.values() if r.state is State.QUEUED)

    def submit(self, request: Request) -> None:
        base, owner = request.lane * LANE_SPAN, (request.lane, request.tenant)
        tag = max(self.virtual[request.lane], self.finish_tags.get(owner, 0))
        siblings = [r for r in self.requests.values() if r.state is State.QUEUED and (r.lane, r.tenant) == owner]
        if siblings:
            last = max(siblings, key=lambda r: (r.place, r.id))
            tag = max(tag, last.place - base + last.cost)
        self.finish_tags[owner] = tag + request.cost
        request.place = base + tag
        self.requests[request.id] = request
        self._to(request, State.QUEUED)

    def claim(self, worker: str, claim: str, budget: int, avoided: Collection[str] = ()) -> Request | None:
        if earlier := self.claims.get(claim):
            return earlier if self._holds(earlier, earlier.number, claim) else None
        request = self._turn(worker, avoided)
        if request is None or request.cost > budget:
            return None
        lane = request.lane
        self.virtual[lane] = max(self.virtual[lane], request.place - lane * LANE_SPAN)
        request.number += 1
        request.attempts += 1
        request.claim, request.worker, request.lapsed = claim, worker, False
        self.claims[claim] = request
        self._to(request, State.RUNNING)
        return request

    def _turn(self, worker: str, avoided: Collection[str]) -> Request | None:
        hand = self.in_hand(worker)
        if len(hand) >= min((held.company for held in hand), default=math.inf):
            return None
        passed: set[Row] = set()
        for request in self.queue():
            if request.row in passed:
                continue
            if request.timed_out:
                self._end(request, State.FAILED)
            elif self.is_full(request):
                request.parked = True
            elif len(hand) < request.company and request.tenant not in avoided:
                return request
            elif request.tenant not in avoided and self.makes_room(worker):
                return None
            else:
                passed.add(request.row)
        return None

    def verdict(self, id: str, number: int, claim: str) -> Lease:
        request = self.requests[id]
        if not self._holds(request, number, claim):
            return Lease.LOST
        return Lease.CANCEL if request.cancel_requested else Lease.KEPT

    def renew(self, worker: str, id: str, number: int, claim: str) -> Lease:
        self.present.add(worker)
        verdict = self.verdict(id, number, claim)
        if verdict is not Lease.LOST:
            self.requests[id].lapsed = False
        return verdict

    def finish(
        self, id: str, number: int, claim: str, state: State, *, retryable: bool, delay: bool, suspect: bool
    ) -> Finish:
        request = self.requests[id]
        if not self._holds(request, number, claim):
            if (request.number, request.claim) == (number, claim):
                return Finish.CANCELLED if request.cancel_requested else Finish.ACCEPTED
            return Finish.LOST
        if request.cancel_requested:
            self._end(request, State.CANCELLED)
            return Finish.CANCELLED
        if suspect:
            return self._crash(request, state)
        if retryable and request.retry and request.attempts < MAX_ATTEMPTS:
            request.delayed = delay
            self._return(request)
            return Finish.REQUEUED
        self._end(request, state)
        return Finish.ACCEPTED

    def release(self, id: str, number: int, claim: str) -> Finish:
        request = self.requests[id]
        if not self._holds(request, number, claim):
            return Finish.LOST
        if request.cancel_requested:
            self._end(request, State.CANCELLED)
            return Finish.CANCELLED
        self._take_back(request)
        return Finish.REQUEUED

    def cancel(self, id: str, tenant: str) -> Cancellation:
        request = self.requests.get(id)
        if request is None or request.tenant != tenant:
            return Cancellation.UNKNOWN
        if request.state is State.QUEUED:
            self._end(request, State.CANCELLED)
            return Cancellation.CANCELLED
        if request.state is State.RUNNING:
            request.cancel_requested = True
            return Cancellation.REQUESTED
        return Cancellation.COMPLETED

    def expire(self) -> int:
        late = [r for r in self.requests.values() if r.state is State.QUEUED and r.timed_out]
        for request in late:
            self._end(request, State.FAILED)
        return len(late)

    def rescue(self) -> tuple[int, int, int]:
        requeued = failed = cancelled = 0
        for request in [r for r in self.requests.values() if r.state is State.RUNNING and r.lapsed]:
            lives = request.worker in self.present
            request.claim = None
            if request.cancel_requested:
                self._end(request, State.CANCELLED)
                cancelled += 1
            elif lives:
                self._take_back(request)
                requeued += 1
            elif self._crash(request, State.FAILED) is Finish.REQUEUED:
                requeued += 1
            else:
                failed += 1
        for request in self.requests.values():
            if request.delayed and request.due:
                request.delayed = request.due = False
        ready = {request.tenant for request in self.queue() if request.crashes == 0}
        for tenant in {request.tenant for request in self.requests.values()} - ready:
            self._unpark(tenant)
        return requeued, failed, cancelled

    def _crash(self, request: Request, state: State) -> Finish:
        request.crashes += 1
        if request.crashes >= MAX_CRASHES or not request.retry or request.attempts >= MAX_ATTEMPTS:
            self._end(request, state)
            return Finish.ACCEPTED
        self._return(request)
        return Finish.REQUEUED

    def _holds(self, request: Request, number: int, claim: str) -> bool:
        return request.state is State.RUNNING and (request.number, request.claim) == (number, claim)

    def _take_back(self, request: Request) -> None:
        """Its attempt counts for nothing, but it did start in time."""
        request.attempts -= 1
        request.deadline = False
        self._return(request)

    def _return(self, request: Request) -> None:
        request.claim, request.due = None, False
        self._to(request, State.QUEUED)

    def _end(self, request: Request, state: State) -> None:
        if request.state is State.QUEUED and request.number == 0:
            owner = (request.lane, request.tenant)
            given_back = self.finish_tags[owner] - request.cost
            self.finish_tags[owner] = max(self.virtual[request.lane], given_back)
        request.endings += 1
        was_ready = request in self.queue()
        request.delayed = False
        self._to(request, state)
        if was_ready:
            self._unpark(request.tenant, most=1)

    def _unpark(self, tenant: str, most: int = 100) -> None:
        running = self.running(tenant)
        for request in self.parked(tenant)[:most]:
            if request.limit is None or running >= request.limit:
                return
            running += 1
            request.parked = False

    def _to(self, request: Request, state: State) -> None:
        before, request.state = request.state, state
        request.parked = request.parked and state is State.QUEUED
        if before is State.RUNNING:
            self._unpark(request.tenant)
        request.history.append(state)
