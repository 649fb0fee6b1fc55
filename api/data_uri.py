"""What is inside a data: URI, a piece at a time: a large one is never in memory as a whole, and stops nobody meanwhile.

Knows nothing about pixels.
"""

import binascii
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from shared.errors import InvalidInput, Problem

_HEAD = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),", re.IGNORECASE)
_LONGEST_HEAD = 1024
_PLAIN_TYPE = re.compile(r"image/[a-z0-9.+-]{1,64}")
_BOTH_ALPHABETS = bytes.maketrans(b"-_", b"+/")
_MOST_PADDING = 8


def decode(pieces: Iterable[str], max_bytes: int, into: BinaryIO) -> str:
    """Writes the content of the URI that `pieces` make up, and returns its media type. The first has its head.

    Raises `InvalidInput` as the worker would for a picture it cannot load.
    """
    rest = iter(pieces)
    first = next(rest, "")
    head = _HEAD.match(first, 0, _LONGEST_HEAD)
    if head is None:
        raise _unreadable("the data URI is not well formed")
    content = _unquoted(chain((first[head.end() :],), rest))
    if head["parameters"].lower().endswith(";base64"):
        content = _from_base64(content)
    size_bytes = 0
    try:
        for part in content:
            size_bytes += len(part)
            if size_bytes > max_bytes:
                raise _too_large(max_bytes)
            into.write(part)
    except ValueError as error:  # of `binascii`, too
        raise _unreadable("the data URI is not base64") from error
    if not size_bytes:
        raise _unreadable("the data URI is empty")
    content_type = head["type"].strip().lower()
    return content_type if _PLAIN_TYPE.fullmatch(content_type) else "application/octet-stream"


def _unquoted(texts: Iterable[str]) -> Iterator[bytes]:
    carried = ""
    for text in texts:
        whole = carried + text
        cut = whole.find("%", max(0, len(whole) - 2))  # an escape that goes on in the next piece
        cut = len(whole) if cut < 0 else cut
        carried = whole[cut:]
        yield unquote_to_bytes(whole[:cut])
    yield unquote_to_bytes(carried)


def _from_base64(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Both alphabets, with or without padding and line breaks."""
    carried = b""
    for piece in pieces:
        plain = carried + piece.translate(_BOTH_ALPHABETS, b" \t\r\n\f\v")
        whole = len(plain.rstrip(b"=")) // 4 * 4
        carried = plain[whole:]
        if b"=" in plain[:whole] or len(carried) > _MOST_PADDING:
            raise ValueError("padding where none is, or more than any has")
        yield binascii.a2b_base64(plain[:whole], strict_mode=True)
    last = carried.rstrip(b"=")
    yield binascii.a2b_base64(last + b"=" * (-len(last) % 4), strict_mode=True)


def _unreadable(why: str) -> InvalidInput:
    return InvalidInput(Problem(("body", "image_url"), f"Image load error: {why}", "image_load_error"))


def _too_large(max_bytes: int) -> InvalidInput:
    message = f"The picture may have at most {max_bytes} bytes"
    return InvalidInput(Problem(("body", "image_url"), message, "file_too_large", {"max_size": max_bytes}))
