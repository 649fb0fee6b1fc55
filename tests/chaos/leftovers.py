"""What is left in Redis and in the store when all is over, as plain values for the checker. Reads only."""

import json
from collections.abc import AsyncIterator
from typing import cast

from shared.queue import keys
from shared.queue.connect import Reply
from tests.chaos.history import Left, Stored
from tests.chaos.stage import Stage

INDEXES = (keys.QUEUE, keys.HEADS, keys.DELAYED, keys.DEADLINES, keys.LEASES, keys.WEBHOOKS)
_FIELDS = ("input", "state", "status", "body", "error_type", "attempts", "crashes", "webhook", "body_key")


async def read(stage: Stage) -> Left:
    found = [name async for name in names(stage)]
    ids = [name.removeprefix(keys.REQUEST) for name in found if name.startswith(keys.REQUEST)]
    tenants = [name for name in found if name.startswith(keys.TENANT)]
    indexes = {name: await _members(stage, name) for name in (*INDEXES, *tenants)}
    return Left(
        requests={id: await stored(stage, id) for id in ids},
        keys={name: int(cast("int", await stage.ask("PTTL", name))) for name in found},
        indexes=indexes,
        work=int(cast("str", await stage.ask("GET", keys.WORK)) or 0),
        files=tuple(stage.store.files()),
        known_files=await _members(stage, keys.FILES),
    )


async def stored(stage: Stage, id: str) -> Stored:
    """One request as it is now."""
    reply = cast("list[str | None]", await stage.ask("HMGET", keys.request(id), *_FIELDS))
    fields = dict(zip(_FIELDS, reply, strict=True))
    events = cast("list[tuple[str, list[str]]]", await stage.ask("XRANGE", keys.events(id), "-", "+"))
    return Stored(
        token=str(json.loads(fields["input"] or "{}").get("prompt", "")),
        state=fields["state"] or "",
        status=int(fields["status"]) if fields["status"] else None,
        body=fields["body"] or "",
        error_type=fields["error_type"],
        attempts=int(fields["attempts"] or 0),
        crashes=int(fields["crashes"] or 0),
        webhook=fields["webhook"] is not None,
        events=tuple((entry, _state(values)) for entry, values in events),
    )


def _state(values: list[str] | dict[str, str]) -> str:
    pairs = values if isinstance(values, dict) else dict(zip(values[::2], values[1::2], strict=True))
    return pairs["state"]


async def names(stage: Stage) -> AsyncIterator[str]:
    """Of all keys. One that comes or goes meanwhile may be there or not, and one may come twice."""
    cursor = "0"
    while True:
        cursor, found = cast("tuple[str, list[str]]", await stage.ask("SCAN", cursor, "COUNT", 1000))
        for name in found:
            yield name
        if str(cursor) == "0":
            return


async def _members(stage: Stage, name: str) -> tuple[str, ...]:
    return tuple(cast("list[Reply]", await stage.ask("ZRANGE", name, 0, -1)))  # pyright: ignore[reportReturnType]
