"""A preview as callers get it: a picture of a few kilobytes inside a URL. Knows neither engine nor queue."""

import base64
import io
from typing import Final

from PIL import Image

_MOST_SIDE: Final = 128
_QUALITIES: Final = (70, 40, 10)
_MOST_BYTES: Final = 6_000
"""Of the file: with base64's third on top, below 8 KiB."""


def url(picture: Image.Image) -> str:
    """A data: URI of WebP, both sides at most 128 pixels, at most 8 KiB but for the noisiest pictures."""
    small = picture.copy()
    small.thumbnail((_MOST_SIDE, _MOST_SIDE))
    content = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        small.save(file, "WEBP", quality=quality)
        content = file.getvalue()
        if len(content) <= _MOST_BYTES:
            break
    return "data:image/webp;base64," + base64.b64encode(content).decode()
