"""`make chaos`: injects faults into the whole system under load, and checks what clients saw against its promises.

    make chaos                  every fault, at most four minutes
    make chaos LONG=1           at least 1,000 requests of each fault
    make chaos FAULT=name,…     these only
    make chaos LIST=1           what there is
    make chaos CHECK=folder     the check of a kept history once more

Exit status 1 for a broken promise. The history stays on the disk, under `out/chaos`.
"""

import math
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import count, repeat
from multiprocessing import get_context
from pathlib import Path

from tests.chaos import act
from tests.chaos.faults import FAULTS
from tests.chaos.history import Record
from tests.chaos.play import Terms
from tests.chaos.report import Row, table, total
from tests.chaos.scene import Fault
from tests.chaos.stage import Pace

_SHORT = Terms(requests=16, long=False, pace=Pace(2000, 1600, 500))
_LONG = Terms(requests=1000, long=True, pace=Pace())
_AT_ONCE = 2
"""Stages of the short form that are played side by side: most of the time is waiting, so two fill two cores."""


def main() -> int:
    asked = {name: os.environ.get(name, "") for name in ("LIST", "FAULT", "LONG", "CHECK")}
    if asked["LIST"]:
        for fault in FAULTS.values():
            print(f"{fault.name:24}{fault.what}")
        return 0
    if asked["CHECK"]:
        return _told(act.judged(Record.read(Path(asked["CHECK"]))), Path(asked["CHECK"]), Pace())
    unknown = set(filter(None, asked["FAULT"].split(","))) - set(FAULTS)
    if unknown:
        print(f"no such fault: {', '.join(sorted(unknown))}; LIST=1 shows all", file=sys.stderr)
        return 2
    chosen = [FAULTS[name] for name in asked["FAULT"].split(",") if name] or list(FAULTS.values())
    return _run(chosen, _LONG if asked["LONG"] else _SHORT)


def _run(chosen: list[Fault], terms: Terms) -> int:
    began_s = time.monotonic()
    folder = Path("out/chaos").resolve() / time.strftime("%Y%m%d-%H%M%S")
    left_out = {fault.name: reason for fault in chosen if (reason := fault.needs())}
    for name, reason in left_out.items():
        act.say(f"{name}: left out, {reason}")
    acts = _acts([fault for fault in chosen if fault.name not in left_out], terms)
    made: list[Row] = []
    with ProcessPoolExecutor(1 if terms.long else _AT_ONCE, get_context("spawn")) as seats:
        for rows_of_act in seats.map(act.played, count(), acts, repeat(terms), repeat(folder)):
            made += rows_of_act
    act.say(f"{time.monotonic() - began_s:.0f} s")
    if left_out and os.environ.get("CI") == "true":
        made += [Row(name, violations=1) for name in left_out]  # all that they need can be installed there
    return _told(made, folder, terms.pace)


def _acts(faults: list[Fault], terms: Terms) -> list[list[str]]:
    """Which faults share a stage, by name: of one kind of store, half of all at most; in the long form one alone."""
    most = 1 if terms.long else math.ceil(len(faults) / _AT_ONCE)
    stores = dict.fromkeys(fault.store for fault in faults)
    of_a_kind = [[fault.name for fault in faults if fault.store == store] for store in reversed(stores)]
    return [kind[at : at + most] for kind in of_a_kind for at in range(0, len(kind), most)]


def _told(made: list[Row], folder: Path, pace: Pace) -> int:
    whole = total(made)
    print(f"\n{table(made)}\n")
    late = sum(waited_s > pace.lease_s + 2 for waited_s in whole.restarts_s)
    bound = f"{late} of {len(whole.restarts_s)} ran again later than lease + 2 s = {pace.lease_s + 2:.0f} s"
    print(f"{whole.kills} SIGKILLs; of the killed workers' requests {bound} (p50/max s, number above)")
    verdict = f"{whole.violations} VIOLATIONS" if whole.violations else "no promise was broken"
    print(f"{verdict}; history in {folder}")
    return 1 if whole.violations else 0


if __name__ == "__main__":
    sys.exit(main())
