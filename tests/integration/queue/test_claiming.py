"""Promises of claim: the best request, the fair order, never a skipped head, and rings that chain."""

import json

from shared.queue import commands, doorbell, keys
from shared.queue.scripts import UNTOLD_TTL_S
from shared.queue.states import Lane, State
from tests.integration.queue.line import LEASE_MS, MEGAPIXEL, Line


def test_an_empty_queue_gives_nothing(line: Line) -> None:
    assert line.claim() is None


def test_one_tenant_is_served_in_the_order_of_submission(line: Line) -> None:
    ids = ["d", "a", "c", "b"]
    for id in ids:
        line.submit(id, steps=1 + len(ids))
    assert [line.take().id for _ in ids] == ids


def test_a_tenant_with_many_queued_does_not_delay_another(line: Line) -> None:
    for number in range(50):
        line.submit(f"many-{number:02}", "ann")
    line.take()
    assert line.submit("one", "bob").position <= 1
    assert "one" in {line.take().id, line.take().id}


def test_tenants_share_by_what_their_requests_cost(line: Line) -> None:
    for number in range(40):
        line.submit(f"big-{number:02}", "ann", steps=4)
        line.submit(f"small-{number:02}", "bob", steps=1)
    taken = [line.take().id for _ in range(25)]
    small = sum(id.startswith("small") for id in taken)
    assert 18 <= small <= 22  # four small ones for each big one


def test_a_cancelled_request_costs_its_tenant_nothing(line: Line) -> None:
    for number in range(20):
        line.submit(f"ann-{number:02}", "ann")
        line.submit(f"bob-{number:02}", "bob")
    for number in range(20):
        line.cancel(f"ann-{number:02}", "ann")
    assert line.submit("new", "ann").position <= 1


def test_cancelling_does_not_let_a_tenant_overtake_itself(line: Line) -> None:
    for id in ("a", "b", "c"):
        line.submit(id, steps=10)
    line.cancel("a")
    line.cancel("b")
    line.submit("d")
    assert [line.take().id, line.take().id] == ["c", "d"]


def test_places_stay_exact_after_years_of_work(line: Line) -> None:
    line.redis.execute_command("SET", keys.VIRTUAL + "1", 900_000_001_234_567)
    ids = [f"r{number}" for number in range(12)]
    for id in ids:
        line.submit(id, lane=Lane.LOW)
    places = [int(line.field(id, "place") or 0) for id in ids]
    assert places == [2**52 + 900_000_001_234_567 + number for number in range(12)]
    assert [line.take().id for _ in ids] == ids


def test_the_head_is_never_skipped_for_one_that_would_fit(line: Line) -> None:
    line.submit("big", cost_px=4 * MEGAPIXEL)
    line.submit("small")
    assert line.claim(budget_px=2 * MEGAPIXEL) is None
    assert line.view("small").position == 1
    attempt = line.claim(budget_px=4 * MEGAPIXEL)
    assert attempt is not None
    assert attempt.held.id == "big"


def test_requests_of_a_tenant_that_a_worker_avoids_are_left_where_they_are(line: Line) -> None:
    for id in ("a", "b"):
        line.submit(id, "ann")
    line.submit("c", "bob")
    line.submit("d", "cid")
    attempt = line.claim(avoided=["ann", "bob"])
    assert attempt is not None
    assert attempt.held.id == "d"
    line.lose_rings()
    assert line.claim(avoided=["ann", "bob"]) is None
    assert line.rings() == 0, "it would hear itself"
    assert [line.view(id).position for id in ("a", "c", "b")] == [0, 1, 2]
    assert line.take("another").id == "a"


def test_a_long_row_of_an_avoided_tenant_keeps_nobody_behind_it_waiting(line: Line) -> None:
    for number in range(150):
        line.submit(f"ann-{number:03}", "ann")
        line.submit(f"bob-{number:03}", "bob", lane=Lane.LOW if number % 2 else Lane.NORMAL)
    attempts = [line.claim(avoided=["ann"]) for _ in range(150)]
    assert {attempt.tenant for attempt in attempts if attempt} == {"bob"}
    assert len({attempt.held.id for attempt in attempts if attempt}) == 150
    assert line.claim(avoided=["ann"]) is None
    assert line.take().id == "ann-000"


def test_a_request_is_handed_out_once(line: Line) -> None:
    line.submit("a")
    held = line.take()
    assert (held.id, held.number, line.claim()) == ("a", 1, None)
    view = line.view("a")
    assert (view.state, view.attempts, view.position) == (State.RUNNING, 1, None)
    assert view.started_ms is not None


def test_a_claim_whose_answer_was_lost_is_answered_again(line: Line) -> None:
    for id in ("a", "b"):
        line.submit(id, total_timeout_ms=600_000)
    first = line.claim(claim="c")
    again = line.claim(claim="c", budget_px=1)
    assert first is not None
    assert again is not None
    assert (again.held, again.input, again.lease_until_ms) == (first.held, first.input, first.lease_until_ms)
    assert (line.view("a").attempts, line.view("b").state) == (1, State.QUEUED)
    assert line.states("a") == ["queued", "running"]


def test_a_claim_that_is_over_gets_nothing_more(line: Line) -> None:
    for id in ("a", "b"):
        line.submit(id)
    attempt = line.claim(claim="c")
    assert attempt is not None
    line.finish(attempt.held)
    assert line.claim(claim="c") is None
    assert line.view("b").state is State.QUEUED


def test_a_claim_is_remembered_as_long_as_its_lease(line: Line) -> None:
    line.submit("a")
    line.take()
    assert 0 < line.ttl_s(keys.claim("claim-1")) <= LEASE_MS / 1000


def test_the_lease_ends_when_the_attempt_says(line: Line) -> None:
    line.submit("a")
    attempt = line.claim()
    assert attempt is not None
    score = line.redis.execute_command("ZSCORE", keys.LEASES, "a")
    assert float(str(score)) == attempt.lease_until_ms
    assert attempt.lease_until_ms == (line.view("a").started_ms or 0) + LEASE_MS


def test_claiming_rings_on_while_there_is_more(line: Line) -> None:
    for id in ("a", "b", "c"):
        line.submit(id)
    line.lose_rings()
    line.take()
    assert line.rings() == 1
    line.take()
    assert line.rings() == 1
    line.lose_rings()
    line.take()
    assert line.rings() == 0


def test_what_waited_too_long_fails_instead_of_starting(line: Line) -> None:
    line.submit("late", start_timeout_ms=60_000, webhook_url="http://hook")
    line.submit("overdue", total_timeout_ms=60_000)
    line.submit("patient")
    line.run_out("late", "start_by")
    line.run_out("overdue", "finish_by")
    assert line.take().id == "patient"
    late, overdue = line.result("late"), line.result("overdue")
    assert (late.state, late.status, late.error_type, late.start_timed_out) == (
        State.FAILED,
        504,
        "request_timeout",
        True,
    )
    assert (overdue.status, overdue.start_timed_out) == (504, False)
    assert line.ttl_s(keys.request("late")) == UNTOLD_TTL_S
    assert [d.id for d in line.do(commands.deliver(limit=9, lease_ms=1000))] == ["late"]


def test_a_long_row_of_expired_requests_is_worked_off_in_turns(line: Line) -> None:
    for number in range(150):
        line.submit(f"r{number:03}", start_timeout_ms=60_000)
        line.run_out(f"r{number:03}", "start_by")
    line.submit("good")
    line.lose_rings()
    assert line.claim() is None
    assert line.rings() == 1
    assert line.take().id == "good"


def test_a_request_that_somebody_deleted_does_not_block_the_queue(line: Line) -> None:
    line.submit("gone")
    line.submit("next")
    line.redis.execute_command("DEL", keys.request("gone"), keys.events("gone"))
    assert line.take().id == "next"


def test_every_ring_has_ids_of_its_own(line: Line) -> None:
    line.submit("a")
    line.submit("b")
    rings = line.redis.execute_command("LRANGE", keys.DOORBELL, 0, -1)
    assert isinstance(rings, list)
    assert len(set(map(str, rings))) == 2
    assert doorbell.NUMBER not in str(rings)


def test_what_a_newer_worker_says_of_itself_does_not_hide_it(line: Line) -> None:
    line.renew(worker="w1")
    said = json.loads(str(line.redis.execute_command("GET", keys.WORKER + "w1")))
    newer = json.dumps(said | {"colour": "red"})
    line.redis.execute_command("SET", keys.WORKER + "w1", newer, "KEEPTTL")
    assert [worker.worker for worker in line.do(commands.fleet()).workers] == ["w1"]


def test_the_fleet_counts_queue_work_and_workers(line: Line) -> None:
    line.submit("a", steps=3)
    line.submit("b", lane=Lane.LOW, steps=4)
    line.submit("c")
    held = line.take()
    line.renew(held, worker="w1")
    line.renew(worker="w2")
    fleet = line.do(commands.fleet())
    assert (fleet.queued, fleet.running, fleet.queued_cost) == (2, 1, 5)
    assert [worker.worker for worker in fleet.workers] == ["w1", "w2"]
    assert fleet.oldest_queued_ms == line.view("b").created_ms
    line.redis.execute_command("DEL", keys.WORKER + "w1")
    assert [worker.worker for worker in line.do(commands.fleet()).workers] == ["w2"]
