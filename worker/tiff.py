"""What a TIFF's first directory says, looked at before Pillow reads the file. Everything here meets hostile bytes.

EXIF is such a directory, too.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

_HEADS: Final = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True)}
"""How the file begins -> its byte order, whether it is a BigTIFF."""
_TAGS: Final = 4096
_TAG_VALUES: Final = 65536
_IN_ONE_PIECE: Final = (1, 2, 7)
"""Types of tags that are not parsed value by value: bytes, text, undefined."""
_NUMBERS: Final[Mapping[int, str]] = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 16: "Q", 17: "q"}
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323

_Tag = tuple[int, int, int, bytes]
"""Number, type, how many values, and the field that holds them or says where they are."""


def begins(content: bytes) -> bool:
    return content[:2] in (b"II", b"MM")


def has_long_tags(content: bytes) -> bool:
    """Whether its directory, or a tag in that, is so long that Pillow would take seconds: it makes objects of Python of
    all values. Raises `KeyError` and `struct.error` for what is no TIFF."""
    for place, (_, kind, values, _) in enumerate(_tags(content)):
        if place >= _TAGS or (values > _TAG_VALUES and kind not in _IN_ONE_PIECE):
            return True
    return False


def tile_px(content: bytes) -> int:
    """How many pixels are decoded at once, whatever the picture's size; 0 where it has no tiles. The largest that it
    may mean, where it says so more than once. Raises as `has_long_tags`."""
    order, _ = _HEADS[content[:4]]
    sides = {_TILE_WIDTH: 0, _TILE_LENGTH: 0}
    for tag, kind, _, field in _tags(content):
        if tag in sides and kind in _NUMBERS:
            (side,) = struct.unpack_from(order + _NUMBERS[kind], field.ljust(8, b"\0"))
            sides[tag] = max(sides[tag], abs(side))
    return sides[_TILE_WIDTH] * sides[_TILE_LENGTH]


def _tags(content: bytes) -> Iterator[_Tag]:
    order, big = _HEADS[content[:4]]
    offset, number, entry = ("Q", "Q", "HHQ8s") if big else ("L", "H", "HHL4s")
    (at,) = struct.unpack_from(order + offset, content, 8 if big else 4)
    (tags,) = struct.unpack_from(order + number, content, at)
    table = struct.Struct(order + entry)
    at += struct.calcsize(order + number)
    for place in range(tags):
        yield table.unpack_from(content, at + place * table.size)
