"""Promises about what was in hand when a worker crashed: the guilty are found, and nobody is convicted with them."""

from itertools import count
from random import Random

import pytest

from shared.queue import keys
from shared.queue.records import Held
from shared.queue.scripts import COMPANY
from shared.queue.states import Lane, State
from tests.integration.queue.line import MEGAPIXEL, Line

SEATS = 16


def crash(line: Line, worker: str) -> None:
    """A worker dies, and its leases end."""
    line.bury(worker)
    for id in line.held(worker):
        line.lapse(id)
    line.rescue()


def take(line: Line, worker: str, most: int = SEATS) -> list[Held]:
    """What a worker with so many seats claims until it gets nothing more."""
    taken: list[Held] = []
    while len(line.held(worker)) < most and (attempt := line.claim(worker)):
        taken.append(attempt.held)
    return taken


def ids(taken: list[Held]) -> list[str]:
    return [held.id for held in taken]


def suspect(line: Line, name: str, crashes: int) -> None:
    """A request that so many workers died with."""
    line.submit(name)
    for number in range(crashes):
        assert line.take(f"dead-{number}").id == name
        crash(line, f"dead-{number}")


def test_a_suspect_keeps_less_company_after_each_crash(line: Line) -> None:
    names = [f"r{number:02}" for number in range(12)]
    for name in names:
        line.submit(name)
    assert ids(take(line, "w1")) == names
    crash(line, "w1")
    assert ids(take(line, "w2")) == names[:8]
    crash(line, "w2")
    assert ids(take(line, "w3")) == names[:1]
    assert ids(take(line, "w4")) == names[1:2]


def test_beside_a_suspect_there_is_no_more_room_for_others_either(line: Line) -> None:
    suspect(line, "a", 2)
    line.submit("b")
    held = line.take("w")
    assert (held.id, line.claim("w")) == ("a", None)
    assert line.take("another").id == "b"
    line.submit("c")
    line.finish(held)
    assert line.take("w").id == "c"


def test_the_worker_with_the_least_in_hand_makes_room_and_the_others_go_past(line: Line) -> None:
    for number in range(3):
        line.submit(f"r{number}")
    full, nearly, other = line.take("v"), line.take("w"), line.take("v")
    suspect(line, "a", 2)
    line.submit("b")
    line.submit("c")
    for worker in ("v", "w"):
        line.renew(worker=worker)
    assert line.claim("w") is None
    assert line.take("v").id == "b"
    line.finish(nearly)
    assert line.take("w").id == "a"
    assert line.take("v").id == "c"
    assert len({full, nearly, other}) == 3


@pytest.mark.parametrize("how", ["it drains", "it died"])
def test_a_worker_that_takes_nothing_makes_no_room(line: Line, how: str) -> None:
    for number in range(3):
        line.submit(f"r{number}")
    _, last, _ = line.take("v"), line.take("v"), line.take("gone")
    suspect(line, "a", 2)
    line.submit("b")
    line.renew(worker="v")
    line.renew(worker="gone", draining=how == "it drains")
    if how == "it died":
        line.bury("gone")
    line.finish(last)
    assert line.claim("v") is None, "it takes part in no race with one that takes nothing"


def test_who_has_nothing_in_hand_takes_a_suspect_at_once(line: Line) -> None:
    line.submit("r")
    line.take("v")
    suspect(line, "a", 2)
    for worker in ("v", "w"):
        line.renew(worker=worker)
    assert line.claim("v") is None
    assert line.take("w").id == "a"


def test_a_suspect_goes_before_no_better_lane(line: Line) -> None:
    line.submit("low", lane=Lane.LOW)
    assert line.take("dead").id == "low"
    crash(line, "dead")
    line.submit("normal")
    assert [line.take("v").id, line.take("w").id] == ["normal", "low"]


def test_a_worker_makes_room_for_no_tenant_that_it_avoids(line: Line) -> None:
    line.submit("r", "bob")
    line.take("v")
    suspect(line, "a", 2)
    line.submit("b", "bob")
    attempt = line.claim("v", avoided=["ann"])
    assert attempt is not None
    assert attempt.held.id == "b"


def test_what_was_released_or_dropped_is_no_suspect(line: Line) -> None:
    for name in ("a", "b"):
        line.submit(name)
    held, _ = line.take("w"), line.take("w")
    line.release(held)
    line.renew(worker="w")
    line.lapse("b")
    line.rescue()
    for number in range(SEATS):
        line.submit(f"r{number:02}")
    assert len(take(line, "w")) == SEATS


def test_what_somebody_deleted_is_in_nobodys_hand(line: Line) -> None:
    line.submit("gone")
    line.take("w")
    line.renew(worker="w")
    line.redis.execute_command("DEL", keys.request("gone"), keys.events("gone"))
    suspect(line, "a", 2)
    assert line.take("w").id == "a"
    line.lapse("gone")
    line.rescue()


def test_after_a_fleets_death_nobody_waits_for_long(line: Line) -> None:
    """Full workers die together: all of what they had runs again at once, in small company, on as many."""
    names = [f"r{number:02}" for number in range(3 * SEATS)]
    for name in names:
        line.submit(name)
    for worker in ("u", "v", "w"):
        assert len(take(line, worker)) == SEATS
    for worker in ("u", "v", "w"):
        crash(line, worker)
    turns = 0
    while taken := [held for worker in ("x", "y", "z") for held in take(line, worker)]:
        turns += 1
        for held in taken:
            line.finish(held)
    assert turns == len(names) / (3 * COMPANY[0])
    assert {line.view(name).state for name in names} == {State.SUCCEEDED}


class Fleet:
    """Workers that claim what they can and end one request at a time, in any order; poison ends the worker."""

    def __init__(self, line: Line, chance: Random, workers: int) -> None:
        self.line = line
        self.chance = chance
        self.names = count()
        self.hands: dict[str, list[Held]] = {self.name(): [] for _ in range(workers)}
        self.crashes = 0

    def name(self) -> str:
        return f"w{next(self.names):03}"

    def turn(self) -> int:
        """Each worker claims, and one of its requests ends, or it does. Returns how many had one."""
        busy = 0
        for worker, hand in list(self.hands.items()):
            self.line.renew(*hand, worker=worker)
            hand += take(self.line, worker)
            if not hand:
                continue
            busy += 1
            chosen = self.chance.choice(hand)
            if chosen.id.startswith("poison"):
                del self.hands[worker]
                crash(self.line, worker)
                self.crashes += 1
                self.hands[self.name()] = []
            else:
                self.line.finish(chosen)
                hand.remove(chosen)
        return busy


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("poisons", [1, 3])
@pytest.mark.parametrize("seed", range(2))
def test_each_poison_costs_three_workers_and_no_innocent(line: Line, workers: int, poisons: int, seed: int) -> None:
    """New requests come all the time, so no worker ever has little in hand by itself."""
    chance = Random(seed)
    fleet = Fleet(line, chance, workers)
    innocents = [f"innocent-{number:03}" for number in range(40 * workers)]
    convicts = [f"poison-{number}" for number in range(poisons)]
    coming = innocents[SEATS * workers :]
    first = innocents[: SEATS * workers] + convicts
    chance.shuffle(first)
    for name in first:
        line.submit(name, chance.choice(["ann", "bob"]), steps=chance.randint(1, 9), cost_px=MEGAPIXEL)
    while fleet.turn() or coming:
        for name in coming[: chance.randint(0, 2 * workers)]:
            line.submit(name, chance.choice(["ann", "bob"]), steps=chance.randint(1, 9))
            coming.remove(name)
    assert {line.view(name).state for name in innocents} == {State.SUCCEEDED}
    assert {line.view(name).state for name in convicts} == {State.FAILED}
    assert fleet.crashes <= 3 * poisons
