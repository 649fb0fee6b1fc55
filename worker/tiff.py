"""What a TIFF's directories say, looked at before Pillow reads the file. Everything here meets hostile bytes.

EXIF is such a file, too. What one library might read otherwise than another is not read at all.
"""

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

_HEADS: Final = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True)}
"""How the file begins -> its byte order, whether it is a BigTIFF."""
_MOST_TAGS: Final = 4096
_MOST_VALUES: Final = 65536
_IN_ONE_PIECE: Final = (1, 2, 7)
"""Types of tags that are not parsed value by value: bytes, text, undefined."""
_WHOLE: Final[Mapping[int, str]] = {1: "B", 3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L", 16: "Q", 17: "q", 18: "Q"}
"""Types of whole numbers -> how they are packed."""
_DIRECTORIES: Final = (34665, 34853, 40965)
"""Tags that say where another directory is, which Pillow reads along: EXIF, GPS, and in EXIF what is interoperable."""
_TILE_WIDTH: Final = 322
_TILE_LENGTH: Final = 323

_Tag = tuple[int, int, int, bytes]
"""Number, type, how many values, and the field that holds them or says where they are."""


def begins(content: bytes) -> bool:
    return content[:2] in (b"II", b"MM")


def has_long_tags(content: bytes) -> bool:
    """Whether its directories, or a tag in them, are so long that Pillow would take seconds: it makes objects of Python
    of all values. Raises `KeyError` and `struct.error` for what is no TIFF."""
    for place, (_, kind, values, _) in enumerate(_with_inner(content, _tags(content))):
        if place >= _MOST_TAGS or (values > _MOST_VALUES and kind not in _IN_ONE_PIECE):
            return True
    return False


def tile_px(content: bytes) -> int:
    """How many pixels are decoded at once, whatever the picture's size; 0 where it has no tiles. The largest that it
    may mean, where it says so more than once. Raises as `has_long_tags`."""
    sides = {_TILE_WIDTH: 0, _TILE_LENGTH: 0}
    for tag in _tags(content):
        if tag[0] in sides:
            sides[tag[0]] = max(sides[tag[0]], abs(_number(content, tag)))
    return sides[_TILE_WIDTH] * sides[_TILE_LENGTH]


def _with_inner(content: bytes, tags: Iterator[_Tag]) -> Iterator[_Tag]:
    """The tags, and behind each that says where a directory is, that one's: as far as they can be read."""
    for tag in tags:
        yield tag
        if tag[0] in _DIRECTORIES:
            with suppress(struct.error):
                yield from _with_inner(content, _tags(content, _number(content, tag)))


def _tags(content: bytes, at: int | None = None) -> Iterator[_Tag]:
    """Of the directory at that place, or of the first."""
    order, big = _HEADS[content[:4]]
    offset, number, entry = ("Q", "Q", "HHQ8s") if big else ("L", "H", "HHL4s")
    if at is None:
        at = int(struct.unpack_from(order + offset, content, 8 if big else 4)[0])
    (tags,) = struct.unpack_from(order + number, content, at)
    table = struct.Struct(order + entry)
    first = at + struct.calcsize(order + number)
    for place in range(tags):
        yield table.unpack_from(content, first + place * table.size)


def _number(content: bytes, tag: _Tag) -> int:
    """The one whole number of a tag. Raises `struct.error` where it is not one, or does not stand in its field."""
    order, _ = _HEADS[content[:4]]
    _, kind, values, field = tag
    if values != 1 or kind not in _WHOLE:
        raise struct.error("no whole number")
    return int(struct.unpack_from(order + _WHOLE[kind], field)[0])
