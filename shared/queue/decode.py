"""Replies of the scripts as records. Knows their shapes, which the headers of the Lua files define."""

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Final, cast

from pydantic import TypeAdapter

from shared.errors import IdempotencyConflict, QueueFull, TooManyQueued
from shared.queue.connect import Reply
from shared.queue.records import (
    Attempt,
    Cancellation,
    Case,
    Delivery,
    Event,
    Finish,
    Fleet,
    Held,
    Lease,
    Presence,
    Preview,
    Receipt,
    Rescue,
    Result,
    StoredKey,
    StoredKeys,
    Submission,
    View,
)
from shared.queue.states import Lane, State

EVENT_ID: Final = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")

_PRESENCE: Final = frozenset(field.name for field in fields(Presence))
_STORED_KEY: Final = TypeAdapter(StoredKey)

Text = str | None


def receipt(reply: Reply) -> Receipt:
    verdict, id, position = cast("tuple[str, str, int]", reply)
    match verdict:
        case "full":
            raise QueueFull
        case "crowded":
            raise TooManyQueued
        case "conflict":
            raise IdempotencyConflict
        case _:
            return Receipt(id, position, replayed=verdict == "replayed")


def attempt(reply: Reply, claim: str) -> Attempt | None:
    if reply is None:
        return None
    id, number, lease_until_ms, left_ms, tenant, body, image_key, base, cost_px, file_ttl_s, keep_io = cast(
        "tuple[str, int, int, int | None, str, str, Text, str, str, Text, Text]", tuple(cast("list[Reply]", reply))
    )
    return Attempt(
        held=Held(id, number, claim),
        tenant=tenant,
        input=body,
        image_key=image_key,
        base=base,
        cost_px=int(cost_px),
        lease_until_ms=lease_until_ms,
        total_timeout_ms=left_ms,
        file_ttl_s=_whole(file_ttl_s),
        keep_io=keep_io is None,
    )


def leases(reply: Reply, ids: Sequence[str]) -> dict[str, Lease]:
    return {id: Lease(verdict) for id, verdict in zip(ids, cast("list[str]", reply), strict=True)}


def lease(reply: Reply) -> Lease:
    return Lease(cast("str", reply))


def finish(reply: Reply) -> Finish:
    return Finish(cast("str", reply))


def cancellation(reply: Reply) -> Cancellation:
    return Cancellation(cast("str", reply))


def count(reply: Reply) -> int:
    return cast("int", reply)


def yes(reply: Reply) -> bool:
    return reply == 1


def text(reply: Reply) -> str:
    return cast("str", reply)


def texts(reply: Reply) -> list[str]:
    return cast("list[str]", reply)


def nothing(_: Reply) -> None:
    return None


def rescue(reply: Reply) -> Rescue:
    return Rescue(*cast("list[int]", reply))


def view(reply: Reply, id: str) -> View | None:
    if reply is None:
        return None
    now_ms, position, *fields = cast("list[Reply]", reply)
    state, tenant, base, attempts, cancel, step, steps, created, started, finished, error, kind, inference, gpu = cast(
        "list[Text]", fields
    )
    return View(
        id=id,
        tenant=tenant or "",
        state=State(state),
        base=base or "",
        position=cast("int | None", position),
        attempts=int(attempts or 0),
        cancel_requested=cancel is not None,
        step=int(step or 0),
        steps=int(steps or 0),
        created_ms=int(created or 0),
        started_ms=_whole(started),
        finished_ms=_whole(finished),
        now_ms=cast("int", now_ms),
        error=error,
        error_type=kind,
        inference_s=_fraction(inference),
        gpu_s=_fraction(gpu),
    )


def preview(reply: Reply) -> Preview | None:
    step, url = cast("list[Text]", reply)
    return None if step is None or url is None else Preview(int(step), url)


def result(reply: Reply) -> Result | None:
    if reply is None:
        return None
    state, tenant, status, body, body_key, error_type, start_timed_out = cast("list[Text]", reply)
    if state is None:
        return None
    return Result(
        tenant=tenant or "",
        state=State(state),
        status=_whole(status),
        body=body or "",
        body_key=body_key,
        error_type=error_type,
        start_timed_out=start_timed_out is not None,
    )


def events(reply: Reply) -> list[Event]:
    return [_event(id, fields) for id, fields in cast("list[tuple[str, list[str]]]", reply)]


def _event(id: str, words: list[str]) -> Event:
    fields = dict(zip(words[::2], words[1::2], strict=True))
    return Event(
        id=id,
        state=State(fields["state"]),
        at_ms=int(id.partition("-")[0]),
        message=fields.get("message"),
        level=fields.get("level"),
        step=_whole(fields.get("step")),
        steps=_whole(fields.get("steps")),
    )


def deliveries(reply: Reply) -> list[Delivery]:
    return [_delivery(taken) for taken in cast("list[list[Reply]]", reply)]


def _delivery(taken: list[Reply]) -> Delivery:
    id, number, tenant, url, state, status, body, body_key, error = cast(
        "tuple[str, int, str, str, str, str, Text, Text, Text]", tuple(taken)
    )
    return Delivery(id, tenant, url, number, State(state), int(status), body or "", body_key, error)


def cases(reply: Reply) -> list[Case]:
    return [_case(listed) for listed in cast("list[list[Reply]]", reply)]


def _case(listed: list[Reply]) -> Case:
    id, failed_ms, *fields = listed
    tenant, crashes, attempts, worker, created, body, image, base, cost, steps, lane, ttl, most = cast(
        "list[Text]", fields
    )
    submission = None
    if body is not None:
        submission = Submission(
            id=str(id),
            tenant=tenant or "",
            input=body,
            cost_px=int(cost or 0),
            steps=int(steps or 0),
            base=base or "",
            lane=Lane(int(lane or 0)),
            image_key=image,
            file_ttl_s=_whole(ttl),
            max_running=_whole(most),
        )
    return Case(
        id=str(id),
        tenant=tenant or "",
        crashes=int(crashes or 0),
        attempts=int(attempts or 0),
        worker=worker or "",
        created_ms=int(created or 0),
        failed_ms=cast("int", failed_ms),
        submission=submission,
    )


def fleet(reply: Reply) -> Fleet:
    now_ms, queued, parked, running, work, oldest_ms, workers = cast(
        "tuple[int, int, int, int, int, int | None, list[str]]", reply
    )
    presences = sorted(map(_presence, workers), key=lambda presence: presence.worker)
    return Fleet(tuple(presences), queued, parked, running, oldest_ms, queued_cost=work, now_ms=now_ms)


def stored_keys(reply: Reply) -> StoredKeys:
    now_ms, version, *rest = cast("tuple[int, str, list[str]]", reply)
    stored = None
    if rest:
        words = rest[0]
        keys = (_stored_key(id, text, now_ms) for id, text in zip(words[::2], words[1::2], strict=True))
        stored = tuple(sorted(keys, key=lambda key: key.id))
    return StoredKeys(now_ms, version, stored)


def _stored_key(id: str, text: str, now_ms: int) -> StoredKey:
    """A newer version may say more of it than we know. One that makes no sense is not `readable`, and made by now."""
    try:
        key = _STORED_KEY.validate_json(text, strict=True)
    except ValueError:
        key = None
    return key if key and key.id == id and key.readable else StoredKey(id, (), created_ms=now_ms)


def _presence(text: str) -> Presence:
    """A newer worker may say more of itself than we know."""
    return Presence(**{name: value for name, value in json.loads(text).items() if name in _PRESENCE})


def _whole(value: Text) -> int | None:
    return None if value is None else int(value)


def _fraction(value: Text) -> float | None:
    return None if value is None else float(value)
