"""`python -m api.quarantine`: the requests that crashed every worker that ran them, and what to do about them.

    python -m api.quarantine list             id, tenant, crashes, when, the last worker; the latest first
    python -m api.quarantine retry ID         submits the same input anew, under an id of its own that this prints
    python -m api.quarantine discard ID       strikes it off and forgets its input

A final request never changes again: its owner is told of the failure whatever is done here, and a retry is a request of
the same tenant without a webhook. Exit status 1 where there is no such request, or Redis does not answer.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from api import console
from shared.errors import UnknownRequest
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis
from shared.queue.records import Case
from shared.settings import Settings
from shared.wire.queue import new_request_id

_COLUMNS = ("ID", "TENANT", "CRASHES", "FAILED AT", "INPUT", "LAST WORKER")


def show(redis: SyncRedis) -> str:
    """One line for each, under a line of headings."""
    return console.table(_COLUMNS, *map(_row, execute.run_sync(redis, commands.quarantined())))


def retry(redis: SyncRedis, id: str, *, retention_s: int) -> str:
    """The id of the new request. Raises `UnknownRequest` where it is not in quarantine, or its input was not kept."""
    case = _find(redis, id)
    if case.submission is None:
        raise UnknownRequest(f"the input of {id} was not kept: its owner wanted it so")
    if case.submission.image_key is not None:  # it would go with the old request
        until_ms = round(time.time() * 1000) + retention_s * 1000
        execute.run_sync(redis, commands.expect_files([case.submission.image_key], until_ms))
    again = replace(case.submission, id=new_request_id())
    execute.run_sync(redis, commands.submit(again, retention_s=retention_s))
    execute.run_sync(redis, commands.discharge(id, forget_input=False))
    return again.id


def discard(redis: SyncRedis, id: str) -> str:
    """Raises `UnknownRequest`."""
    if not execute.run_sync(redis, commands.discharge(id, forget_input=True)):
        raise UnknownRequest(f"{id} is not in quarantine")
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m api.quarantine", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="all of them, the latest first")
    for verb, what in (("retry", "submit its input anew"), ("discard", "strike it off and forget its input")):
        verbs.add_parser(verb, help=what).add_argument("id")
    asked = parser.parse_args(arguments)

    def work(redis: SyncRedis, settings: Settings) -> str:
        match asked.verb:
            case "list":
                return show(redis)
            case "retry":
                return retry(redis, asked.id, retention_s=settings.retention_s)
            case _:
                return discard(redis, asked.id)

    return console.run(work)


def _find(redis: SyncRedis, id: str) -> Case:
    for case in execute.run_sync(redis, commands.quarantined(id)):
        return case
    raise UnknownRequest(f"{id} is not in quarantine")


def _row(case: Case) -> tuple[str, ...]:
    failed_at = datetime.fromtimestamp(case.failed_ms / 1000, UTC).isoformat(timespec="seconds")
    kept = "no" if case.submission is None else "kept"
    return case.id, case.tenant, f"{case.crashes}", failed_at, kept, case.worker


if __name__ == "__main__":
    sys.exit(main())
