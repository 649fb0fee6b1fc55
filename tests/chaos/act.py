"""One act: faults that share a stage are played, and what was seen is checked. In a process of its own, for the wires
of two stages are too much for one on a busy machine; so everything that goes in and comes out is plain.
"""

import asyncio
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.faults import FAULTS
from tests.chaos.history import History
from tests.chaos.play import Terms, play
from tests.chaos.report import Row, rows

_SHOWN = 20


def played(number: int, faults: Sequence[str], terms: Terms, folder: Path) -> list[Row]:
    """What came of the act of this number, of faults by name. Its history stays in a folder of that number."""
    act = folder / str(number)
    try:
        history = asyncio.run(play(act, [FAULTS[name] for name in faults], terms, say))
    except Exception as error:  # noqa: BLE001 - the others are worth playing
        traceback.print_exc()
        say(f"BROKEN OFF: {error!r}; see {act}")
        return [Row("(broken off)", violations=1)]
    shutil.rmtree(act / "system" / "files", ignore_errors=True)
    return judged(history)


def judged(history: History) -> list[Row]:
    """A row for each fault; what was broken is said."""
    violations = check(history)
    for violation in violations[:_SHOWN]:
        say(f"BROKEN {violation.promise}: {violation.about} {violation.what}")
    return rows(history, violations)


def say(line: str) -> None:
    print(line, flush=True)
