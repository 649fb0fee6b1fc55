"""The only two functions that talk to Redis on behalf of a command: one round trip each.

A script that the server does not know yet (its first use, or after a restart) is sent in full once.
"""

import re
from typing import Final, TypeVar

from redis import exceptions

from shared.errors import ServiceUnavailable
from shared.queue.commands import Command
from shared.queue.connect import AsyncRedis, SyncRedis

T = TypeVar("T")

_AWAY: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.OutOfMemoryError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
_AWAY_CODES: Final = re.compile(r"(?:^|-)(?:MISCONF|BUSY|LOADING|MASTERDOWN|NOREPLICAS|OOM|READONLY)\b")
"""Replies that redis-py gives no class of their own: disk full, inside a long script, failing over. Servers before 7.0
wrap the code of an error that a script met into a longer text."""


async def run(redis: AsyncRedis, command: Command[T]) -> T:
    """Raises ServiceUnavailable where Redis is away, starting, full, read-only or too slow; else what decoding raises.

    Nothing or everything was done then, but which of the two is unknown after a timeout.
    """
    script, rest = command.script, (len(command.keys), *command.keys, *command.args)
    try:
        try:
            reply = await redis.execute_command("EVALSHA", script.sha, *rest)
        except exceptions.NoScriptError:
            reply = await redis.execute_command("EVAL", script.text, *rest)
    except exceptions.RedisError as error:
        raise _named(error) from error
    return command.decode(reply)


def run_sync(redis: SyncRedis, command: Command[T]) -> T:
    """As `run`, for threads."""
    script, rest = command.script, (len(command.keys), *command.keys, *command.args)
    try:
        try:
            reply = redis.execute_command("EVALSHA", script.sha, *rest)
        except exceptions.NoScriptError:
            reply = redis.execute_command("EVAL", script.text, *rest)
    except exceptions.RedisError as error:
        raise _named(error) from error
    return command.decode(reply)


def _named(error: exceptions.RedisError) -> Exception:
    if isinstance(error, _AWAY) or _AWAY_CODES.search(str(error)):
        return ServiceUnavailable()
    return error
