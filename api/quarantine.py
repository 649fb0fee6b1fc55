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

from shared.errors import Error, UnknownRequest, WrongSetting
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis, open_sync
from shared.queue.records import Case
from shared.settings import Settings, load
from shared.wire.queue import new_request_id

_COLUMNS = ("ID", "TENANT", "CRASHES", "FAILED AT", "INPUT", "LAST WORKER")


def show(redis: SyncRedis) -> list[str]:
    """One line for each, under a line of headings."""
    rows = [_COLUMNS, *(_row(case) for case in execute.run_sync(redis, commands.quarantined()))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


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


def discard(redis: SyncRedis, id: str) -> None:
    """Raises `UnknownRequest`."""
    if not execute.run_sync(redis, commands.discharge(id, forget_input=True)):
        raise UnknownRequest(f"{id} is not in quarantine")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m api.quarantine", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="all of them, the latest first")
    for verb, what in (("retry", "submit its input anew"), ("discard", "strike it off and forget its input")):
        verbs.add_parser(verb, help=what).add_argument("id")
    asked = parser.parse_args(arguments)
    try:
        settings = load(Settings)
        redis = open_sync(settings.redis_url)
        match asked.verb:
            case "list":
                sys.stdout.write("\n".join(show(redis)) + "\n")
            case "retry":
                sys.stdout.write(f"{retry(redis, asked.id, retention_s=settings.retention_s)}\n")
            case _:
                discard(redis, asked.id)
    except WrongSetting as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    except Error as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def _find(redis: SyncRedis, id: str) -> Case:
    for case in execute.run_sync(redis, commands.quarantined()):
        if case.id == id:
            return case
    raise UnknownRequest(f"{id} is not in quarantine")


def _row(case: Case) -> tuple[str, ...]:
    failed_at = datetime.fromtimestamp(case.failed_ms / 1000, UTC).isoformat(timespec="seconds")
    kept = "no" if case.submission is None else "kept"
    return case.id, case.tenant, f"{case.crashes}", failed_at, kept, case.worker


if __name__ == "__main__":
    sys.exit(main())
