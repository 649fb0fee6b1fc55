"""Fair queueing as a property: while two tenants wait, neither gets ahead by more than a request of each costs.

Whoever cancels what was to come first lets the others get ahead, so leads of those over it are no fault.
"""

from itertools import accumulate, count, pairwise
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.queue.line import MEGAPIXEL, Line

TENANTS = ("ann", "bob", "cid")
SUBMIT = st.tuples(st.sampled_from(TENANTS), st.integers(1, 9), st.integers(1, 12))
"""A tenant submits so many requests that cost so much each."""
SERVE = st.integers(1, 20)
"""So many are claimed, and done at once."""
CANCEL = st.tuples(st.just(None), st.randoms(use_true_random=False))
"""The first tenant cancels some of what it has waiting."""

Step = tuple[str, int, int] | tuple[None, Random] | int


class Share:
    """What each tenant waits for and what each got, in step-megapixels."""

    def __init__(self, url: str) -> None:
        self.line = Line(url)
        self.line.redis.execute_command("FLUSHALL")
        self.ids = count()
        self.waiting: dict[str, list[tuple[str, int]]] = {tenant: [] for tenant in TENANTS}
        self.served: dict[str, int] = dict.fromkeys(TENANTS, 0)
        self.has_cancelled = False
        self.leads: dict[tuple[str, str], list[int]] = {}

    def submit(self, tenant: str, cost: int, times: int) -> None:
        for _ in range(times):
            id = f"{tenant}-{next(self.ids):04}"
            self.line.submit(id, tenant, steps=cost, cost_px=MEGAPIXEL)
            self.waiting[tenant].append((id, cost))

    def cancel(self, chance: Random) -> None:
        waiting, self.has_cancelled = self.waiting[TENANTS[0]], True
        for request in chance.sample(waiting, chance.randint(0, len(waiting))):
            self.line.cancel(request[0], TENANTS[0])
            waiting.remove(request)

    def serve(self, times: int) -> None:
        for _ in range(times):
            attempt = self.line.claim()
            if attempt is None:
                return
            self.compare()
            id, cost = self.waiting[attempt.tenant].pop(0)
            assert id == attempt.held.id
            self.served[attempt.tenant] += cost
            self.compare()
            self.line.finish(attempt.held)

    def compare(self) -> None:
        """No lead may grow by more than the dearest request of each, as long as both wait."""
        for a in TENANTS:
            for b in TENANTS:
                if not (self.waiting[a] and self.waiting[b]):
                    self.leads.pop((a, b), None)
                    continue
                leads = self.leads.setdefault((a, b), [])
                leads.append(self.served[a] - self.served[b])
                growth = max(lead - least for lead, least in zip(leads, accumulate(leads, min), strict=True))
                assert growth <= 2 * 9 or (b == TENANTS[0] and self.has_cancelled), (a, b, leads)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("steps", [SUBMIT | SERVE, SUBMIT | SERVE | CANCEL], ids=["none is cancelled", "some are"])
def test_while_two_wait_neither_gets_ahead(redis_url: str, steps: st.SearchStrategy[Step]) -> None:
    lengths: list[int] = []

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.lists(steps, min_size=8, max_size=24))
    def run(script: list[Step]) -> None:
        share = Share(redis_url)
        for step in script:
            if isinstance(step, int):
                share.serve(step)
            elif step[0] is None:
                share.cancel(step[1])
            else:
                share.submit(*step)
            lengths.extend(len(leads) for leads in share.leads.values())
        share.serve(10_000)
        share.line.redis.close()

    run()
    assert max(lengths) > 20, "nobody waited beside another for long enough to mean anything"


def test_a_flood_delays_anothers_first_request_by_one(line: Line) -> None:
    """However many were queued before, and however many were served of them."""
    for number in range(300):
        line.submit(f"flood-{number:03}", "ann", steps=3)
    for _ in range(40):
        line.finish(line.take())
    assert line.submit("first", "bob", steps=3).position <= 1
    for number in range(9):
        line.submit(f"next-{number}", "bob", steps=3)
    served = [line.take().id for _ in range(21)]
    assert sum(not id.startswith("flood") for id in served) == 10


def test_what_was_cancelled_buys_nothing_later(line: Line) -> None:
    """One that waits far behind keeps the place that cancelled ones before it paid for; the next come after it."""
    for number in range(50):
        line.submit(f"far-{number:02}", "ann", steps=9)
    for number in range(49):
        line.cancel(f"far-{number:02}", "ann")
    for number in range(50):
        line.submit(f"new-{number:02}", "ann", steps=9)
    assert line.take().id == "far-49"
    for number in range(10):
        line.submit(f"bob-{number}", "bob", steps=9)
    served = [line.take().id for _ in range(21)]
    places = [place for place, id in enumerate(served) if id.startswith("bob")]
    assert len(places) == 10
    assert max(later - earlier for earlier, later in pairwise(places)) <= 2
