"""The table at the end: what each fault did to how many requests. Pure, from a history and its violations."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from shared.queue.states import State
from tests.chaos.checker import Violation
from tests.chaos.history import Ack, History, Injected, Stored, Try, of_kind

_HEAD = (
    "fault",
    "made",
    "requests",
    "acked",
    "ok",
    "failed",
    "cancelled",
    "crashes",
    "violations",
    "queued again",
    "runs again",
)


@dataclass(slots=True)
class Row:
    """Of one fault. From a kill until its victims were queued again, and until they ran again."""

    fault: str
    made: int = 0
    kills: int = 0
    requests: int = 0
    acked: int = 0
    ends: Counter[str] = field(default_factory=Counter[str])
    crashes: int = 0
    violations: int = 0
    rescues_s: list[float] = field(default_factory=list[float])
    restarts_s: list[float] = field(default_factory=list[float])

    @property
    def cells(self) -> tuple[str, ...]:
        ends = (str(self.ends[state]) for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED))
        counts = (str(count) for count in (self.made, self.requests, self.acked))
        return (
            self.fault,
            *counts,
            *ends,
            str(self.crashes),
            str(self.violations),
            *map(quantiles, (self.rescues_s, self.restarts_s)),
        )


def rows(history: History, violations: Iterable[Violation]) -> list[Row]:
    """One for each fault that was played, in that order. What is nobody's counts for all of them together."""
    made: dict[str, Row] = {}
    tokens: dict[str, str] = {}
    for attempt in of_kind(history.entries, Try):
        row = made.setdefault(attempt.fault, Row(attempt.fault))
        row.requests += attempt.token not in tokens
        tokens[attempt.token] = attempt.fault
    acked = {ack.token for ack in of_kind(history.entries, Ack)}
    for token in acked:
        made[tokens[token]].acked += 1
    for stored in history.left.requests.values():
        row = made[tokens[stored.token]]
        row.ends[stored.state] += 1
        row.crashes += stored.crashes
    for injected in of_kind(history.entries, Injected):
        row = made.setdefault(injected.fault, Row(injected.fault))
        row.made += 1
        row.kills += injected.what.startswith("SIGKILL")
        for rescued_s, ran_s in waits_s(injected, history.left.requests):
            row.rescues_s.append(rescued_s)
            row.restarts_s.append(ran_s)
    faults: defaultdict[str, str] = defaultdict(lambda: "(all)")
    faults |= (
        {name: name for name in made}
        | tokens
        | {id: tokens[stored.token] for id, stored in history.left.requests.items()}
    )
    for violation in violations:
        made.setdefault(faults[violation.about], Row(faults[violation.about])).violations += 1
    return list(made.values())


def waits_s(injected: Injected, requests: dict[str, Stored]) -> Iterator[tuple[float, float]]:
    """How long each victim waited until it was queued and until it ran again; one that ended otherwise is left out."""
    for id in injected.victims:
        queued_ms = None
        for entry, state in requests[id].events if id in requests else ():
            at_ms = int(entry.partition("-")[0])
            if at_ms < injected.at_ms:
                continue
            if queued_ms is not None and state == State.RUNNING:
                yield (queued_ms - injected.at_ms) / 1000, (at_ms - injected.at_ms) / 1000
                break
            queued_ms = at_ms if state == State.QUEUED else queued_ms


def quantiles(values_s: list[float]) -> str:
    """Median, maximum and number."""
    if not values_s:
        return ""
    ordered = sorted(values_s)
    return f"{ordered[len(ordered) // 2]:.1f}/{ordered[-1]:.1f} ({len(ordered)})"


def table(made: list[Row]) -> str:
    lines = [_HEAD, *(row.cells for row in made), total(made).cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    rule = "-" * max(len(text) for text in texts)
    return "\n".join([texts[0], rule, *texts[1:-1], rule, texts[-1]])


def total(made: list[Row]) -> Row:
    whole = Row("all")
    for row in made:
        whole.made += row.made
        whole.kills += row.kills
        whole.requests += row.requests
        whole.acked += row.acked
        whole.ends += row.ends
        whole.crashes += row.crashes
        whole.violations += row.violations
        whole.rescues_s += row.rescues_s
        whole.restarts_s += row.restarts_s
    return whole
