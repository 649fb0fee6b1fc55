"""The only two functions that talk to Redis on behalf of a command: one round trip each.

A script that the server does not know yet (its first use, or after a restart) is sent in full once.
"""

import re
from typing import Final, TypeVar

from redis.exceptions import (
    ConnectionError as _ConnectionLost,
)
from redis.exceptions import (
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import (
    TimeoutError as _TooSlow,
)

from shared.errors import ServiceUnavailable
from shared.queue.commands import Command
from shared.queue.connect import AsyncRedis, SyncRedis

T = TypeVar("T")

_AWAY: Final = re.compile(
    r"(?:^|-)(?:OOM|READONLY|MISCONF|BUSY|LOADING|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN|UNBLOCKED)\b"
)
"""Codes of replies that say "not now": full, replica, disk full, inside a long script, starting up, failing over."""


async def run(redis: AsyncRedis, command: Command[T]) -> T:
    """Raises ServiceUnavailable where Redis is away, starting, full, read-only or too slow; else what decoding raises.

    Nothing or everything was done then, but which of the two is unknown after a timeout.
    """
    script, rest = command.script, (len(command.keys), *command.keys, *command.args)
    try:
        try:
            reply = await redis.execute_command("EVALSHA", script.sha, *rest)
        except NoScriptError:
            reply = await redis.execute_command("EVAL", script.text, *rest)
    except RedisError as error:
        raise _named(error) from error
    return command.decode(reply)


def run_sync(redis: SyncRedis, command: Command[T]) -> T:
    """As `run`, for threads."""
    script, rest = command.script, (len(command.keys), *command.keys, *command.args)
    try:
        try:
            reply = redis.execute_command("EVALSHA", script.sha, *rest)
        except NoScriptError:
            reply = redis.execute_command("EVAL", script.text, *rest)
    except RedisError as error:
        raise _named(error) from error
    return command.decode(reply)


def _named(error: RedisError) -> Exception:
    away = isinstance(error, _ConnectionLost | _TooSlow)
    if away or (isinstance(error, ResponseError) and _AWAY.search(str(error))):
        return ServiceUnavailable()
    return error
