"""Input pictures, drawn here, and what the tests ask of result pictures."""

import base64
import io
from typing import Any

import httpx
from PIL import Image, ImageChops, ImageDraw


def photo(width: int = 64, height: int = 64, *, hue: int = 40) -> Image.Image:
    """Something with gradients, edges and colour, the same for the same arguments."""
    across = Image.linear_gradient("L").resize((width, height))
    down = Image.radial_gradient("L").resize((width, height))
    flat = Image.new("L", (width, height), hue)
    picture = Image.merge("RGB", (across, down, flat))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width // 8, height // 4, width // 2, height * 3 // 4), fill=(230, 180, 60))
    draw.rectangle((width * 5 // 8, height // 8, width * 7 // 8, height * 7 // 8), fill=(30, 60, 200))
    return picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def data_uri(content: bytes, content_type: str = "image/png") -> str:
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"


def photo_uri(width: int = 64, height: int = 64, *, hue: int = 40) -> str:
    return data_uri(encoded(photo(width, height, hue=hue)))


def bytes_at(url: str) -> bytes:
    """What lies behind a link or a data: URI; links are fetched without any credentials, as a browser does."""
    if url.startswith("data:"):
        return base64.b64decode(url.partition(",")[2], validate=True)
    response = httpx.get(url, follow_redirects=True, timeout=30)
    response.raise_for_status()
    return response.content


def picture_at(url: str) -> Image.Image:
    picture = Image.open(io.BytesIO(bytes_at(url)))
    picture.load()
    return picture


def furthest(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of any channel of any pixel, in grey levels."""
    assert (one.size, one.mode) == (other.size, other.mode)
    histogram = ImageChops.difference(one, other).histogram()
    return max(index % 256 for index, count in enumerate(histogram) if count)


def mean_distance(one: Image.Image, other: Image.Image) -> float:
    """The mean difference over all channels and pixels, in grey levels."""
    assert (one.size, one.mode) == (other.size, other.mode)
    difference = ImageChops.difference(one, other)
    histogram = difference.histogram()
    total = sum((index % 256) * count for index, count in enumerate(histogram))
    return total / sum(histogram)
