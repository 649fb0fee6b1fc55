"""The Lua files as Redis runs them. Knows how a script is put together, not what it does.

A script is: the constants below, every file whose name begins with `_` in alphabetical order (what the verbs share),
then the verb's own file. Its name at the server is the SHA-1 of that text, so processes of two versions never run
each other's scripts.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from shared.queue import doorbell, keys

MAX_ATTEMPTS: Final = 10
"""Starts of one request that did not end by a drain; as many as fal's queue makes."""
MAX_CRASHES: Final = 3
"""Of one request, until it is quarantined."""
COMPANY: Final = (8, 1)
"""How many a worker has in hand at most, with one that was in hand when a worker crashed once, twice or more often."""
MAX_EVENTS: Final = 1000
"""Of one request's stream, roughly; the oldest go first."""
UNKEPT_TTL_S: Final = 3600
"""How long a request whose owner wants nothing kept (`X-Fal-Store-IO: 0`) stays after it is final."""
HELD_TTL_S: Final = 7200
"""How long a picture waits for the submission it came with: of one whose API died, or heard no answer from Redis,
nobody else would know. Redis' clock counts, and it may be set forward by an hour meanwhile."""
WAITING_TTL_S: Final = 7 * 86_400
"""How long it stays for a request that does not end, beside the retention; so does its Idempotency-Key."""
UNTOLD_TTL_S: Final = 86_400
"""How long a request stays at least while its webhook is neither delivered nor given up."""
SILENCE_MS: Final = 1500
"""Rescuers look about once a second each. What a silence of all of them is longer, no lease runs out in."""
LANE_SPAN: Final = 2**52
"""place = lane × this + tag: both are exact in a double."""

_LUA = Path(__file__).parent / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    verb: str
    text: str
    sha: str


@cache
def load(verb: str) -> Script:
    """The script of a verb. Raises FileNotFoundError for a verb that has none."""
    text = f"{_shared()}{_read(_LUA / f'{verb}.lua')}"
    return Script(verb, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def verbs() -> list[str]:
    return sorted(path.stem for path in _LUA.glob("[!_]*.lua"))


@cache
def _shared() -> str:
    return _constants() + "".join(_read(path) for path in sorted(_LUA.glob("_*.lua")))


def _constants() -> str:
    names = ", ".join(f"{name} = '{key}'" for name, key in keys.IN_LUA.items())
    return (
        f"local K = {{{names}}}\n"
        f"local DOORBELL, NUMBER, CAP = [==[{doorbell.template()}]==], '{doorbell.NUMBER}', {doorbell.CAP}\n"
        f"local MAX_ATTEMPTS, MAX_CRASHES, MAX_EVENTS = {MAX_ATTEMPTS}, {MAX_CRASHES}, {MAX_EVENTS}\n"
        f"local COMPANY = {{{', '.join(map(str, COMPANY))}}}\n"
        f"local UNKEPT_TTL_S, UNTOLD_TTL_S = {UNKEPT_TTL_S}, {UNTOLD_TTL_S}\n"
        f"local HELD_TTL_S, WAITING_TTL_S = {HELD_TTL_S}, {WAITING_TTL_S}\n"
        f"local SILENCE_MS, LANE_SPAN = {SILENCE_MS}, {LANE_SPAN}\n"
    )


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
