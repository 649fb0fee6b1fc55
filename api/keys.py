"""`python -m api.keys`: who may call. Changes hold within seconds, in every API process, without a restart.

    python -m api.keys add ID [--running N] [--queued N]      makes a key and prints it, once
    python -m api.keys list
    python -m api.keys limit ID [--running N] [--queued N]    0 is no limit; what is left out is the server's default
    python -m api.keys rotate ID [--overlap-s N]              prints a new secret; the old one is valid so much longer
    python -m api.keys revoke ID                              for good: no secret of it is valid any more

What was given to a revoked key, sessions and addresses to upload to, ends with it; links to files that are there stay.
Only digests are kept. A key of the same id in API_KEYS is replaced by the one that is made here. Exit status 1 where it
cannot be done.
"""

import argparse
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from api import console
from api.auth import digest, tenant_of
from shared.errors import Error
from shared.queue import commands, execute
from shared.queue.connect import SyncRedis
from shared.queue.records import Secret, StoredKey
from shared.settings import Settings

_ID = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_COLUMNS = ("ID", "TENANT", "STATE", "SECRETS", "RUNNING", "QUEUED", "MADE AT")
_OVERLAP_S = 3600
_LONGEST_NUMBER = 9

Change = Callable[[StoredKey | None, int], StoredKey]
"""From what is known of a key, and now (ms), to what is to be known of it."""


class NotPossible(Error):
    """The keys do not allow it."""


def change(redis: SyncRedis, id: str, how: Change) -> StoredKey:
    """What was written. Read again and done again where somebody else changed the keys meanwhile."""
    while True:
        found = execute.run_sync(redis, commands.stored_keys())
        key = how(next((key for key in found.keys or () if key.id == id), None), found.now_ms)
        if execute.run_sync(redis, commands.keep_key(key, version=found.version)):
            return key


def add(redis: SyncRedis, id: str, *, max_running: int | None = None, max_queued: int | None = None) -> str:
    """`id:secret`. Raises `NotPossible` where there is such a key, or was."""
    if not _ID.fullmatch(id):
        raise NotPossible("an id has 1 to 64 letters, digits and ._@-")
    credential = _new(id)

    def made(key: StoredKey | None, now_ms: int) -> StoredKey:
        if key is not None:
            raise NotPossible(f"there is a key {id} already" + (", and it was revoked" if key.revoked else ""))
        return StoredKey(id, (Secret(digest(credential), None),), max_running, max_queued, created_ms=now_ms)

    change(redis, id, made)
    return credential


def rotate(redis: SyncRedis, id: str, *, overlap_s: float) -> str:
    """The new `id:secret`. Raises `NotPossible`."""
    credential = _new(id)

    def rotated(key: StoredKey | None, now_ms: int) -> StoredKey:
        key, until_ms = _valid(key, id), now_ms + round(overlap_s * 1000)
        old = [replace(old, until_ms=min(until_ms, old.until_ms or until_ms)) for old in key.secrets]
        left = [secret for secret in old if secret.until_ms and secret.until_ms > now_ms]
        return replace(key, secrets=(*left, Secret(digest(credential), None)))

    change(redis, id, rotated)
    return credential


def limit(redis: SyncRedis, id: str, *, max_running: int | None, max_queued: int | None) -> str:
    """Raises `NotPossible`. What waits already keeps the limits that it came with."""
    change(redis, id, lambda key, _: replace(_valid(key, id), max_running=max_running, max_queued=max_queued))
    return ""


def revoke(redis: SyncRedis, id: str) -> str:
    """Also an id that only API_KEYS knows; then a remark, for it may be a slip of the pen."""
    unknown = False

    def revoked(key: StoredKey | None, _now_ms: int) -> StoredKey:
        nonlocal unknown
        unknown = key is None
        return replace(key or StoredKey(id, (), created_ms=0), secrets=(), revoked=True)

    change(redis, id, revoked)
    return f"no key {id} was made here; one of that name in API_KEYS is refused from now on" if unknown else ""


def show(redis: SyncRedis) -> str:
    """One line for each, under a line of headings."""
    return console.table(_COLUMNS, *map(_row, execute.run_sync(redis, commands.stored_keys()).keys or ()))


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)

    def work(redis: SyncRedis, _settings: Settings) -> str:
        match asked.verb:
            case "add":
                return add(redis, asked.id, max_running=asked.running, max_queued=asked.queued)
            case "rotate":
                return rotate(redis, asked.id, overlap_s=asked.overlap_s)
            case "limit":
                return limit(redis, asked.id, max_running=asked.running, max_queued=asked.queued)
            case "revoke":
                return revoke(redis, asked.id)
            case _:
                return show(redis)

    return console.run(work)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m api.keys", description=(__doc__ or "").split("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="all of them, without their secrets")
    known = {
        "add": "make a key and print it, once",
        "limit": "set how much it may run and queue at once",
        "rotate": "print a new secret for it",
        "revoke": "refuse it from now on",
    }
    made = {verb: verbs.add_parser(verb, help=what) for verb, what in known.items()}
    for verb in made.values():
        verb.add_argument("id")
    for verb in ("add", "limit"):
        made[verb].add_argument("--running", type=_count, help="requests that may run at once; 0 is no limit")
        made[verb].add_argument("--queued", type=_count, help="requests that may wait; 0 is no limit")
    made["rotate"].add_argument(
        "--overlap-s", type=_seconds, default=_OVERLAP_S, help="how long the old one stays valid"
    )
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_NUMBER):
        raise argparse.ArgumentTypeError("expected a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        if 0 <= (seconds := float(text)) < 10**_LONGEST_NUMBER:
            return seconds
    except ValueError:
        pass
    raise argparse.ArgumentTypeError("expected seconds")


def _new(id: str) -> str:
    return f"{id}:{secrets.token_urlsafe(32)}"


def _valid(key: StoredKey | None, id: str) -> StoredKey:
    if key is None:
        raise NotPossible(f"there is no key {id} that was made here")
    if key.revoked:
        raise NotPossible(f"the key {id} was revoked")
    if not key.readable:
        raise NotPossible(f"what is kept of the key {id} cannot be read by this version: it can only be revoked")
    return key


def _row(key: StoredKey) -> tuple[str, ...]:
    if not key.readable:
        return key.id, tenant_of("id", key.id), "unreadable", "0", "-", "-", "-"
    made_at = (
        datetime.fromtimestamp(key.created_ms / 1000, UTC).isoformat(timespec="seconds") if key.created_ms else "-"
    )
    limits = ("default" if most is None else f"{most or 'none'}" for most in (key.max_running, key.max_queued))
    state = "revoked" if key.revoked else "valid"
    return key.id, tenant_of("id", key.id), state, f"{len(key.secrets)}", *limits, made_at


if __name__ == "__main__":
    sys.exit(main())
