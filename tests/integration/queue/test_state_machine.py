"""Any sequence of commands and any passing of time: the real queue does what the model does, and keeps its promises."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from random import Random
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from shared.queue import commands, keys
from shared.queue.records import Held, Lease
from shared.queue.states import TRANSITIONS, Lane, State
from tests.conftest import leaks
from tests.integration.queue.line import MEGAPIXEL, PASSING, SUCCESS, Line
from tests.integration.queue.model import Model, Request

HOUR_MS = 3_600_000
LIMITS: dict[str, int | None] = {"ann": None, "bob": 1, "cid": 2}
"""How many of each tenant's requests may run at once."""
WORKERS = ("v", "w")


class Trial:
    """One queue beside its model. Every method but the checks is a step that both take; `chance` fills in the rest."""

    def __init__(self, url: str) -> None:
        self.line = Line(url)
        self.line.redis.execute_command("FLUSHALL")
        self.model = Model()
        self.claims: list[Held] = []
        self.final: dict[str, Any] = {}
        self.seen: Counter[str] = Counter()

    def requests(self, which: Callable[[Request], bool]) -> list[Request]:
        return [request for request in self.model.requests.values() if which(request)]

    def proof(self, chance: Random) -> Held | None:
        """What some worker holds or, now and then, once held; often one that it was asked to stop."""
        verdicts = [(held, self.model.verdict(held.id, held.number, held.claim)) for held in self.claims]
        live = [held for held, verdict in verdicts if verdict != Lease.LOST]
        stopped = [held for held, verdict in verdicts if verdict == Lease.CANCEL]
        chosen = live if live and chance.random() < 0.8 else self.claims
        chosen = stopped if stopped and chance.random() < 0.5 else chosen
        return chance.choice(chosen) if chosen else None

    def agree(self, verb: str, real: object, expected: object) -> None:
        assert real == expected, verb
        self.seen[f"{verb} {real}"] += 1

    def submit(self, chance: Random) -> None:
        if len(self.requests(lambda r: not r.state.is_final)) > 6:
            return
        tenant = chance.choice(list(LIMITS))
        request = Request(
            id=f"r{len(self.model.requests) * 7919 % 1000:03}",
            tenant=tenant,
            limit=LIMITS[tenant],
            lane=chance.choice([0, 0, 1]),
            cost=chance.randint(1, 4),
            webhook=chance.random() < 0.5,
            retry=chance.random() < 0.8,
            deadline=chance.random() < 0.4,
        )
        self.model.submit(request)
        receipt = self.line.submit(
            request.id,
            request.tenant,
            lane=Lane(request.lane),
            cost_px=request.cost * MEGAPIXEL,
            webhook_url="http://hook" if request.webhook else None,
            retry=request.retry,
            start_timeout_ms=HOUR_MS if request.deadline else None,
            max_running=request.limit,
        )
        assert receipt.position == self.model.position(request.id)

    def claim(self, chance: Random) -> None:
        worker, budget = chance.choice(WORKERS), chance.choice([1, 4, 4, 4])
        avoided = [tenant for tenant in LIMITS if chance.random() < 0.1]
        attempt = self.line.claim(worker, budget_px=budget * MEGAPIXEL, avoided=avoided)
        expected = self.model.claim(worker, attempt.held.claim if attempt else "", budget, avoided)
        assert (attempt and attempt.held.id) == (expected and expected.id)
        if attempt and expected:
            assert attempt.held.number == expected.number
            self.claims.append(attempt.held)
        elif budget == 4:
            left = self.requests(lambda r: r.state is State.QUEUED and not r.delayed)
            hand = self.model.in_hand(worker)
            reasons = [self.model.is_full(request) or request.tenant in avoided for request in left]
            suspects = any(len(hand) >= request.company for request in [*left, *hand])
            assert all(reasons) or suspects, "nobody waits without a reason"
            self.seen["claim full"] += bool(left)
            self.seen["claim in company"] += suspects and bool(left)

    def claim_again(self, chance: Random) -> None:
        """As a worker does that heard no answer."""
        if held := self.proof(chance):
            attempt = self.line.claim(claim=held.claim)
            expected = self.model.claim("w", held.claim, 4)
            real = attempt and (attempt.held.id, attempt.held.number)
            assert real == (expected and (expected.id, expected.number))
            self.seen[f"claim again {attempt is not None}"] += 1

    def renew(self, chance: Random) -> None:
        if held := self.proof(chance):
            worker = chance.choice([self.model.requests[held.id].worker, *WORKERS])
            expected = self.model.renew(worker, held.id, held.number, held.claim)
            self.agree("renew", self.line.renew(held, worker=worker)[held.id], expected)

    def report(self, chance: Random) -> None:
        if held := self.proof(chance):
            expected = self.model.verdict(held.id, held.number, held.claim)
            self.agree("report", self.line.report(held, step=chance.randint(1, 9), steps=9), expected)

    def succeed(self, chance: Random) -> None:
        if held := self.proof(chance):
            expected = self.model.finish(
                held.id, held.number, held.claim, State.SUCCEEDED, retryable=False, delay=False, suspect=False
            )
            self.agree("finish", self.line.finish(held, SUCCESS), expected)

    def fail_in_passing(self, chance: Random) -> None:
        if held := self.proof(chance):
            delay, suspect = chance.random() < 0.5, chance.random() < 0.3
            expected = self.model.finish(
                held.id, held.number, held.claim, State.FAILED, retryable=True, delay=delay, suspect=suspect
            )
            real = self.line.finish(held, PASSING, suspect=suspect, retry_delay_ms=HOUR_MS if delay else 0)
            self.agree("finish", real, expected)

    def release(self, chance: Random) -> None:
        if held := self.proof(chance):
            self.agree("release", self.line.release(held), self.model.release(held.id, held.number, held.claim))

    def cancel(self, chance: Random) -> None:
        state = chance.choice([State.QUEUED, State.RUNNING, State.RUNNING, State.SUCCEEDED, State.FAILED])
        if chosen := self.requests(lambda r: r.state is state):
            request = chance.choice(chosen)
            tenant = request.tenant if chance.random() < 0.9 else "mallory"
            expected = self.model.cancel(request.id, tenant)
            self.agree("cancel", self.line.cancel(request.id, tenant), expected)

    def bury(self, chance: Random) -> None:
        """A worker falls silent; what it does later shows that it was not dead."""
        worker = chance.choice(WORKERS)
        self.line.bury(worker)
        self.model.present.discard(worker)

    def lapse(self, chance: Random) -> None:
        """A lease ends. Its worker may still be quicker than the rescuer."""
        if chosen := self.requests(lambda r: r.state is State.RUNNING):
            request = chance.choice(chosen)
            request.lapsed = True
            self.line.lapse(request.id)
            if chance.random() < 0.7:
                self.rescue(chance)

    def run_out(self, chance: Random) -> None:
        if chosen := self.requests(lambda r: r.state is State.QUEUED and r.deadline):
            request = chance.choice(chosen)
            request.timed_out = True
            self.line.run_out(request.id, "start_by")

    def come_due(self, chance: Random) -> None:
        if chosen := self.requests(lambda r: r.delayed):
            request = chance.choice(chosen)
            request.due = True
            self.line.come_due(request.id)

    def lose_rings(self, chance: Random) -> None:
        self.line.lose_rings()

    def expire(self, chance: Random) -> None:
        self.agree("expire", self.line.expire(), self.model.expire())

    def rescue(self, chance: Random) -> None:
        done = self.line.rescue()
        self.agree("rescue", (done.requeued, done.failed, done.cancelled), self.model.rescue())
        assert self.line.rings() >= len(self.model.queue())

    def check(self) -> None:
        """Every request is where the model has it, in the same order, and what is final stays as it is."""
        assert self.line.redis.execute_command("ZRANGE", keys.QUEUE, 0, -1) == [r.id for r in self.model.queue()]
        self.check_rows()
        for tenant, limit in LIMITS.items():
            parked = self.line.redis.execute_command("ZRANGE", keys.PARKED + tenant, 0, -1)
            assert parked == [r.id for r in self.model.parked(tenant)]
            running = self.line.redis.execute_command("SCARD", keys.RUNNING + tenant)
            assert running == (0 if limit is None else self.model.running(tenant))
            assert limit is None or self.model.running(tenant) <= limit
        for worker in WORKERS:
            hand = self.model.in_hand(worker)
            assert sorted(r.id for r in hand) == sorted(self.line.held(worker))
            assert all(len(hand) <= request.company for request in hand)
        for request in self.model.requests.values():
            view = self.line.view(request.id)
            crashes = self.line.field(request.id, "crashes")
            real = (view.state, view.position, view.attempts, crashes, view.cancel_requested)
            position, crashes = self.model.position(request.id), str(request.crashes)
            assert real == (request.state, position, request.attempts, crashes, request.cancel_requested), request
            if request.state.is_final:
                kept = (self.line.result(request.id), self.line.events(request.id), view.finished_ms)
                assert self.final.setdefault(request.id, kept) == kept

    def check_rows(self) -> None:
        rows = {":".join(map(str, row)): ids for row, ids in self.model.rows().items()}
        real = {row: self.line.redis.execute_command("ZRANGE", keys.ROW + row, 0, -1) for row in rows}
        assert real == rows
        heads = cast("list[str]", self.line.redis.execute_command("ZRANGE", keys.HEADS, 0, -1))
        assert heads == [f"{ids[0]} {row}" for row, ids in rows.items()]

    def check_end(self) -> None:
        """One history and one webhook for each ending, sums that are right, and nothing left behind."""
        entries = cast("list[str]", self.line.redis.execute_command("ZRANGE", keys.WEBHOOKS, 0, -1))
        ended = self.requests(lambda r: r.state.is_final)
        assert sorted(entries) == sorted(r.id for r in ended if r.webhook)
        for request in ended:
            history = self.line.states(request.id)
            assert request.endings == 1
            assert history == request.history
            assert all(State(after) in TRANSITIONS[State(before)] for before, after in pairwise(history))
        fleet = self.line.do(commands.fleet())
        running = len(self.requests(lambda r: r.state is State.RUNNING))
        assert (fleet.queued_cost, fleet.running) == (self.model.work(), running)
        assert fleet.queued == len(self.requests(lambda r: r.state is State.QUEUED))
        assert fleet.parked == len(self.requests(lambda r: r.parked))
        assert leaks(self.line.redis) == []


STEPS: list[Callable[[Trial, Random], None]] = [
    *[Trial.submit] * 5,
    *[Trial.claim] * 8,
    *[Trial.succeed, Trial.fail_in_passing, Trial.release, Trial.cancel, Trial.lapse, Trial.rescue] * 2,
    *[Trial.bury] * 2,
    *[Trial.renew, Trial.report, Trial.claim_again] * 2,
    *[Trial.run_out, Trial.come_due, Trial.lose_rings, Trial.expire],
]


@pytest.mark.timeout(600)
def test_the_queue_behaves_as_its_model(redis_url: str) -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=60,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 2**32)), min_size=60, max_size=90))
    def run(script: list[tuple[Callable[[Trial, Random], None], int]]) -> None:
        trial = Trial(redis_url)
        try:
            for step, seed in script:
                step(trial, Random(seed))
                trial.check()
            trial.check_end()
        finally:
            trial.line.redis.close()
        seen.update(trial.seen)

    missing = {"finish lost", "finish cancelled", "finish requeued", "release cancelled", "renew cancel"}
    missing |= {"claim again True", "claim again False", "claim full", "claim in company"}
    for _ in range(4):  # what is rare is drawn for again
        run()
        missing -= set(seen)
        if not missing:
            break
    assert not missing, "the scripts were too tame to mean anything"
