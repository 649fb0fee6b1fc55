"""`make chaos`: injects faults into the whole system under load, and checks what clients saw against its promises.

    make chaos                  every fault, at most five minutes
    make chaos LONG=1           at least 1,000 requests of each fault
    make chaos FAULT=name,…     these only
    make chaos LIST=1           what there is
    make chaos CHECK=folder     the check of a kept history once more

Exit status 1 for a broken promise. The history stays on the disk, under `out/chaos`.
"""

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.faults import FAULTS
from tests.chaos.history import History, Record
from tests.chaos.play import Terms, play
from tests.chaos.report import Row, rows, table, total
from tests.chaos.scene import Fault
from tests.chaos.stage import Pace

_SHORT = Terms(requests=16, long=False, pace=Pace(2000, 1600, 500))
_LONG = Terms(requests=1000, long=True, pace=Pace())
_SHOWN = 20


def main() -> int:
    asked = {name: os.environ.get(name, "") for name in ("LIST", "FAULT", "LONG", "CHECK")}
    if asked["LIST"]:
        for fault in FAULTS.values():
            print(f"{fault.name:24}{fault.what}")
        return 0
    if asked["CHECK"]:
        return _judge([Record.read(Path(asked["CHECK"]))], Path(asked["CHECK"]), Pace())
    unknown = set(filter(None, asked["FAULT"].split(","))) - set(FAULTS)
    if unknown:
        print(f"no such fault: {', '.join(sorted(unknown))}; LIST=1 shows all", file=sys.stderr)
        return 2
    chosen = [FAULTS[name] for name in asked["FAULT"].split(",") if name] or list(FAULTS.values())
    return _run(chosen, _LONG if asked["LONG"] else _SHORT)


def _run(chosen: list[Fault], terms: Terms) -> int:
    began_s = time.monotonic()
    folder = Path("out/chaos").resolve() / time.strftime("%Y%m%d-%H%M%S")
    possible: list[Fault] = []
    for fault in chosen:
        reason = fault.needs()
        if reason:
            _say(f"{fault.name}: left out, {reason}")
        else:
            possible.append(fault)
    histories: list[History] = []
    for number, together in enumerate(_acts(possible, terms)):
        histories.append(asyncio.run(play(folder / str(number), together, terms, _say)))
    status = _judge(histories, folder, terms.pace)
    _say(f"{time.monotonic() - began_s:.0f} s")
    if status == 0:
        for system in folder.glob("*/system"):
            shutil.rmtree(system)
    return status


def _acts(faults: list[Fault], terms: Terms) -> list[list[Fault]]:
    """Which faults share a stage: all of one kind of store, or in the long form each its own."""
    if terms.long:
        return [[fault] for fault in faults]
    stores = dict.fromkeys(fault.store for fault in faults)
    return [[fault for fault in faults if fault.store == store] for store in stores]


def _judge(histories: list[History], folder: Path, pace: Pace) -> int:
    made: list[Row] = []
    broken = 0
    for history in histories:
        violations = check(history)
        broken += len(violations)
        made += rows(history, violations)
        for violation in violations[:_SHOWN]:
            _say(f"BROKEN {violation.promise}: {violation.about} {violation.what}")
    whole = total(made)
    print(f"\n{table(made)}\n")
    print(f"{whole.kills} SIGKILLs; restart of a killed worker's request: bound {pace.lease_s + 2:.0f} s (lease + 2 s)")
    print(f"{'no promise was broken' if not broken else f'{broken} VIOLATIONS'}; history in {folder}")
    return 1 if broken else 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
