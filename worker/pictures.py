"""Pixels in and out: any picture that Pillow reads -> RGB of the right size; a painted picture -> a file's bytes.

Owns how foreign pictures are understood (orientation, transparency, inks, bit depths, colour profiles) and what
our own files look like. Knows no network, no store and no engine. Everything here may meet hostile bytes.
"""

import io
import logging
import math
import threading
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from PIL import Image, ImageCms, ImageOps

from shared.errors import InvalidInput, Problem
from worker import tiff

LOCATION: Final = ("body", "image_url")

_log = logging.getLogger(__name__)
warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow only warns up to twice its limit
_FORMATS: Final = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "DIB", "ICO", "PPM", "TGA")
"""Those that people send (MPO comes as JPEG), and whose decoders let other threads run. Not JPEG 2000: its decoder
keeps the interpreter's lock to the end, up to 0.5 s a megapixel; and not EPS, which is a program."""
_HEAD_BYTES: Final = 4 * 1024 * 1024
_READS: Final = 4096
_BYTES_PER_READ: Final = 256
_SCAN: Final = b"\xff\xda"
_EXIF: Final = b"Exif\0\0"
_EXIFS: Final = 8
"""Pieces of at most 64 KiB each; Pillow puts them together, and looks into that before anybody could stop it."""
_SCANNED_PX: Final = 6 * 1024**3
_ORIENTATION: Final = 0x0112
_QUICK_BYTES: Final = 256 * 1024
_QUICK_PX: Final = 1024 * 1024
_QUICK_SCANS: Final = 50
_LARGE_PX: Final = 12 * 1024 * 1024
_few_large_ones = threading.BoundedSemaphore(2)
"""A decoded picture takes up to eight bytes a pixel while it is converted: only two large ones at a time."""


def decode(content: bytes, *, max_px: int) -> Image.Image:
    """The first frame as it is meant to be seen: RGB, upright, transparency on white, in sRGB where it names its
    profile. At most `max_px` pixels are ever decoded: the header is looked at first.

    Raises `InvalidInput`: `image_load_error` for what is no picture or is cut off, `image_too_large`.
    """
    try:
        return _first_frame(content, max_px)
    except InvalidInput:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(max_px) from error
    except Exception as error:  # an edge: hostile bytes make Pillow's plugins raise anything at all
        _log.info("input picture of %d bytes is not readable: %r", len(content), error)
        raise unreadable("The file is not a picture that can be read, or it is damaged") from error


def is_quick(content: bytes) -> bool:
    """Whether decoding takes moments whatever is in it: few bytes, few pixels, and decoders that end with them."""
    if len(content) > _QUICK_BYTES:
        return False
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as opened:
            return opened.width * opened.height <= _QUICK_PX and content.count(_SCAN) <= _QUICK_SCANS
    except Exception:  # noqa: BLE001 - see decode
        return False


def unreadable(why: str) -> InvalidInput:
    """What is said of a file out of which no picture comes."""
    return InvalidInput(Problem(LOCATION, why, "image_load_error"))


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scaled (Lanczos) to cover `size` (width, height), the overhang cut off evenly on both sides."""
    if picture.size == size:
        return picture
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A file: its bytes, its MIME type, and the extension of its name without the dot."""

    content: bytes
    content_type: str
    extension: str


def encode(picture: Image.Image, output_format: Literal["png", "jpeg"]) -> Encoded:
    """The same picture gives the same bytes, always. They are its pixels and nothing else: who gets a picture is not
    told by it what was asked for."""
    file = io.BytesIO()
    if output_format == "jpeg":
        picture.save(file, "JPEG", quality=95)
        return Encoded(file.getvalue(), "image/jpeg", "jpeg")
    # Level 6, Pillow's default, takes as long as the whole GPU work and saves 15 % of the bytes.
    picture.save(file, "PNG", compress_level=1)
    return Encoded(file.getvalue(), "image/png", "png")


class _Morsels(Exception):
    """The file is built so that reading it takes long."""


class _Frugal(io.BytesIO):
    """What Pillow reads from. It parses all but pixels in loops of Python, so the work is bounded by what it gets: a
    head of so many bytes, and in the whole file so many pieces. Files of cameras and editors stay far below."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._reads = _READS + len(content) // _BYTES_PER_READ
        self._head_bytes: float = _HEAD_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads -= 1
        self._head_bytes -= max(0, size or 0)  # the rest of the file in one piece goes to a library in C
        if self._reads < 0 or self._head_bytes < 0:
            raise _Morsels
        return super().read(size)

    def head_ends(self) -> None:
        self._head_bytes = math.inf


def _first_frame(content: bytes, max_px: int) -> Image.Image:
    _only_decoders_in_c()
    at_once_px = 0
    if tiff.begins(content):
        if tiff.has_long_tags(content):
            raise _Morsels
        at_once_px = tiff.tile_px(content)
    if content[:2] == b"\xff\xd8" and content.count(_EXIF) > _EXIFS:
        raise _Morsels
    # Pillow's own limit, too: an icon decodes the picture inside it, of any size at all, while it is being opened.
    Image.MAX_IMAGE_PIXELS = max_px
    file = _Frugal(content)
    with Image.open(file, formats=_FORMATS) as opened:
        file.head_ends()
        size_px = max(opened.width * opened.height, at_once_px)
        if size_px > max_px:
            raise _too_large(max_px)
        if opened.format in ("JPEG", "MPO") and content.count(_SCAN) * size_px > _SCANNED_PX:
            raise _Morsels  # each of its scans goes over all pixels again, and a hundred bytes are enough for one
        # The size of an AVIF is what its container says; what is in it shows only when it is decoded.
        with _few_large_ones if size_px > _LARGE_PX or opened.format == "AVIF" else nullcontext():
            return _rgb(opened)


@cache
def _only_decoders_in_c() -> None:
    """Formats that are decoded in C have variants that are not (BMP in runs, PPM in words): those are not read."""
    Image.init()
    Image.DECODERS.clear()


def _too_large(max_px: int) -> InvalidInput:
    side = math.isqrt(max_px)
    return InvalidInput(
        Problem(
            LOCATION,
            f"The picture has more than {max_px} pixels",
            "image_too_large",
            context={"max_height": side, "max_width": side},
        )
    )


def _rgb(opened: Image.Image) -> Image.Image:
    opened.load()
    orientation = _orientation(opened)
    picture = _on_white(_managed(_eight_bits(opened)))
    return picture if orientation is None else picture.transpose(orientation)


_UPRIGHT: Final[Mapping[int, Image.Transpose]] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _orientation(opened: Image.Image) -> Image.Transpose | None:
    """What makes it upright. EXIF that cannot be read, or goes on and on, does not spoil a picture that can."""
    try:
        exif = opened.info.get("exif")
        if exif and tiff.has_long_tags(exif.removeprefix(_EXIF)):
            return None
        return _UPRIGHT.get(opened.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - see decode
        return None


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Sixteen and more bits, or floats, to eight. Pillow alone would cut off at 255 and show white."""
    if picture.mode.startswith("I;16"):
        scale = 255 / 65535
        picture = picture.convert("I")
    elif picture.mode in ("I", "F"):
        highest = float(picture.getextrema()[1])  # pyright: ignore[reportArgumentType] - one band: a pair of numbers
        if picture.mode == "F" and highest <= 1:
            scale = 255.0
        elif highest <= 255:
            scale = 1.0
        else:
            scale = 255 / max(highest, 65535)
    else:
        return picture
    grey = picture.point(lambda value: value * scale + 0.5).convert("L")
    # A transparent grey level of the old depth would name another grey now.
    grey.info.pop("transparency", None)
    return grey


def _managed(picture: Image.Image) -> Image.Image:
    """In sRGB, if it carries another profile that can be used. A useless profile is ignored, as browsers do."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    if picture.mode in ("P", "PA"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if picture.mode not in ("L", "RGB", "RGBA", "CMYK"):
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return picture
        managed = ImageCms.profileToProfile(
            picture,
            source,
            _srgb(),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGBA" if picture.mode == "RGBA" else "RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        _log.info("colour profile ignored: %r", error)
        return picture
    return managed or picture


def _srgb() -> ImageCms.ImageCmsProfile:
    profile = ImageCms.createProfile("sRGB")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return ImageCms.ImageCmsProfile(profile)  # pyright: ignore[reportUnknownArgumentType]


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB. Converting away the alpha alone would show the colours that hide under full transparency."""
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    cut_out = picture.convert("RGBA")
    white = Image.new("RGBA", cut_out.size, "white")
    return Image.alpha_composite(white, cut_out).convert("RGB")
