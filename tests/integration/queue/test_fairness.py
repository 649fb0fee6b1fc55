"""Fair queueing as a property: while two tenants wait, neither gets ahead by more than a request of each costs."""

from itertools import count

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.queue.line import MEGAPIXEL, Line

TENANTS = ("ann", "bob", "cid")
SUBMIT = st.tuples(st.sampled_from(TENANTS), st.integers(1, 9), st.integers(1, 12))
"""A tenant submits so many requests that cost so much each."""
SERVE = st.integers(1, 20)
"""So many are claimed, and done at once."""


class Share:
    """What each tenant waits for and what each got, in step-megapixels."""

    def __init__(self, url: str) -> None:
        self.line = Line(url)
        self.line.redis.execute_command("FLUSHALL")
        self.ids = count()
        self.waiting: dict[str, list[int]] = {tenant: [] for tenant in TENANTS}
        self.served: dict[str, int] = dict.fromkeys(TENANTS, 0)
        self.leads: dict[tuple[str, str], list[int]] = {}

    def submit(self, tenant: str, cost: int, times: int) -> None:
        for _ in range(times):
            self.line.submit(f"{tenant}-{next(self.ids):04}", tenant, steps=cost, cost_px=MEGAPIXEL)
            self.waiting[tenant].append(cost)

    def serve(self, times: int) -> None:
        for _ in range(times):
            attempt = self.line.claim()
            if attempt is None:
                return
            self.compare()
            self.served[attempt.tenant] += self.waiting[attempt.tenant].pop(0)
            self.compare()
            self.line.finish(attempt.held)

    def compare(self) -> None:
        """How far one is ahead may change by no more than the dearest request of each, as long as both wait."""
        for a in TENANTS:
            for b in TENANTS:
                if not (self.waiting[a] and self.waiting[b]):
                    self.leads.pop((a, b), None)
                    continue
                leads = self.leads.setdefault((a, b), [])
                leads.append(self.served[a] - self.served[b])
                assert max(leads) - min(leads) <= 2 * 9, (a, b, leads)


@pytest.mark.timeout(300)
def test_while_two_wait_neither_gets_ahead(redis_url: str) -> None:
    lengths: list[int] = []

    @settings(
        max_examples=40,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.generate, Phase.shrink],
    )
    @given(st.lists(SUBMIT | SERVE, min_size=8, max_size=24))
    def run(script: list[tuple[str, int, int] | int]) -> None:
        share = Share(redis_url)
        for step in script:
            if isinstance(step, int):
                share.serve(step)
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
