"""What the operator's commands have in common: Redis, how a table looks, and what an exit status means.

Knows nothing of what a command does.
"""

import sys
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from shared.errors import Error, ServiceUnavailable, WrongSetting
from shared.queue.connect import SyncRedis, open_sync
from shared.settings import Settings, load


def run(work: Callable[[SyncRedis, Settings], str]) -> int:
    """Prints what `work` says, or to stderr why it could not. The exit status: 0, 1 where the state of things does not
    allow it or Redis is away, 2 for a wrong setting."""
    try:
        settings = load(Settings)
    except WrongSetting as error:
        return _refuse(2, error.message)
    try:
        said = work(open_sync(settings.redis_url), settings)
    except ServiceUnavailable:
        where = urlsplit(settings.redis_url)
        return _refuse(1, f"Redis does not answer at {where.netloc.rpartition('@')[2] or where.path} (REDIS_URL)")
    except Error as error:
        return _refuse(1, error.message)
    if said:
        sys.stdout.write(f"{said}\n")
    return 0


def table(*rows: Sequence[str]) -> str:
    """Columns as wide as their widest cell. The first row is the headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _refuse(status: int, why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return status
