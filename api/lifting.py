"""Takes a large picture out of a call's body before the body is read as JSON.

Reading JSON keeps every other call waiting, and only one thing in a body may be large: a picture, as the data: URI that
begins a string. So whatever follows the first part of such a string is left where it is and a mark stands for it; the
rest of the body has to be small. Everything here goes in small steps, so that a thread that does it stops nobody.
"""

import json
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from shared.errors import TooLarge

LARGE_BYTES = 1024 * 1024
"""Bodies from here on are worth it, and the rest of one may not be larger."""
_STEP_BYTES = 64 * 1024
_KEPT_BYTES = 256 * 1024
"""Of a string, in any case. So a text that is too long for its field is still too long without what was taken out."""
_INSIDE = re.compile(rb'[^"\\]*+(?:\\(?:u[0-9a-fA-F]{4}|["\\/bfnrt])[^"\\]*+)*+', re.DOTALL)
"""Of a string, up to its end, or to an escape that is not whole."""


@dataclass(frozen=True, slots=True)
class Lifted:
    text: bytes | bytearray
    """The body, or what is left of it."""
    body: bytearray
    mark: str = ""
    tails: tuple[tuple[int, int], ...] = ()
    """Where in `body` that lies for which the marks stand."""

    def pieces(self, string: str) -> Iterator[str]:
        """The whole of a string as it was before, in pieces. Raises `ValueError` for what is no text in JSON."""
        kept, mark, number = string.partition(self.mark) if self.mark else (string, "", "")
        for at in range(0, len(kept), _STEP_BYTES):
            yield kept[at : at + _STEP_BYTES]
        if not mark:
            return
        at, end = self.tails[int(number)]
        while at < end:
            cut = _inside(self.body, at, min(at + _STEP_BYTES, end))
            piece = bytes(self.body[at:cut])
            yield json.loads(f'"{piece.decode()}"') if b"\\" in piece else piece.decode()
            at = cut


def lift(body: bytearray) -> Lifted:
    """Raises `TooLarge` where more than a picture is large. Takes time in proportion: call it in a thread."""
    if len(body) < LARGE_BYTES:
        return Lifted(body, body)
    mark = secrets.token_hex(16)
    text, tails, done = bytearray(), list[tuple[int, int]](), 0
    for start, end in _strings(body):
        if start - done > LARGE_BYTES or len(text) > LARGE_BYTES:
            break
        if end - start > _KEPT_BYTES and bytes(body[start : start + 5]).lower() == b"data:":
            cut = _inside(body, start, start + _KEPT_BYTES)
            text += body[done:cut] + f"{mark}{len(tails)}".encode()
            tails.append((cut, end))
            done = end
    if len(body) - done + len(text) > LARGE_BYTES:
        raise TooLarge(f"Beside its picture, a body may have at most {LARGE_BYTES} bytes")
    return Lifted(text + body[done:], body, mark, tuple(tails))


def _strings(body: bytearray) -> Iterator[tuple[int, int]]:
    """Where the content of each string begins and ends, as far as the body is well formed."""
    after = 0
    while start := body.find(b'"', after) + 1:
        end = start
        while end < len(body) and body[end] != ord('"'):
            further = _inside(body, end, end + _STEP_BYTES)
            if further == end:
                return
            end = further
        yield start, end
        after = end + 1


def _inside(body: bytearray, at: int, end: int) -> int:
    found = _INSIDE.match(body, at, end)
    return found.end() if found else at
