"""Foreign pictures come out as they are meant to be seen, or as a 422; our own are the same bytes every time."""

import gzip
import io
import struct
import zlib
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import InvalidInput
from worker import pictures
from worker.pictures import decode, encode, fit, is_quick

MAX_PX = 1_000_000
Pixel = tuple[int, ...]


@pytest.fixture(autouse=True)
def _pillows_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`decode` sets it for the process, for good: a worker has one limit, and a process of tests has many."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def pixel_at(picture: Image.Image, x: int, y: int) -> Pixel:
    pixel = picture.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def file_of(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def seen(picture: Image.Image, kind: str, **options: Any) -> Image.Image:
    return decode(file_of(picture, kind, **options), max_px=MAX_PX)


def problem_of(content: bytes, *, max_px: int = MAX_PX) -> str:
    with pytest.raises(InvalidInput) as caught:
        decode(content, max_px=max_px)
    (problem,) = caught.value.problems
    assert problem.location == ("body", "image_url")
    return problem.type


def two_halves(mode: str, left: Any, right: Any, size: tuple[int, int] = (16, 8)) -> Image.Image:
    picture = Image.new(mode, size, right)
    picture.paste(Image.new(mode, (size[0] // 2, size[1]), left), (0, 0))
    return picture


def ends(picture: Image.Image) -> tuple[Pixel, Pixel]:
    assert picture.mode == "RGB"
    return pixel_at(picture, 1, 1), pixel_at(picture, picture.width - 2, picture.height - 2)


WHITE, BLACK, RED = (255, 255, 255), (0, 0, 0), (255, 0, 0)


class TestModes:
    @pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "TGA", "ICO", "AVIF"])
    def test_every_common_format_is_read(self, kind: str) -> None:
        lossless: dict[str, Any] = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
        picture = seen(Image.new("RGB", (32, 32), (200, 30, 30)), kind, **lossless)
        assert picture.size == (32, 32)
        assert max(abs(a - b) for a, b in zip(pixel_at(picture, 5, 5), (200, 30, 30), strict=True)) <= 4

    def test_what_is_fully_transparent_is_white_whatever_colour_hides_there(self) -> None:
        assert ends(seen(two_halves("RGBA", (255, 0, 0, 0), (255, 0, 0, 255)), "PNG")) == (WHITE, RED)

    def test_half_transparency_is_mixed_with_white(self) -> None:
        assert ends(seen(two_halves("RGBA", (0, 0, 0, 51), (0, 0, 0, 255)), "PNG")) == ((204, 204, 204), BLACK)

    def test_grey_with_alpha(self) -> None:
        assert ends(seen(two_halves("LA", (0, 0), (0, 255)), "PNG")) == (WHITE, BLACK)

    def test_a_palette_with_a_transparent_entry(self) -> None:
        picture = two_halves("P", 1, 2)
        picture.putpalette([0, 0, 0, 0, 0, 0, 255, 0, 0])
        assert ends(seen(picture, "PNG", transparency=1)) == (WHITE, RED)
        assert ends(seen(picture, "GIF", transparency=1)) == (WHITE, RED)

    def test_a_palette_without_transparency(self) -> None:
        picture = two_halves("P", 1, 2)
        picture.putpalette([0, 0, 0, 255, 255, 255, 255, 0, 0])
        assert ends(seen(picture, "PNG")) == (WHITE, RED)

    def test_one_colour_named_transparent(self) -> None:
        assert ends(seen(two_halves("RGB", (1, 2, 3), RED), "PNG", transparency=(1, 2, 3))) == (WHITE, RED)

    def test_one_bit(self) -> None:
        assert ends(seen(two_halves("1", 1, 0), "PNG")) == (WHITE, BLACK)

    @pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
    def test_inks(self, kind: str) -> None:
        """Pillow writes CMYK JPEGs as Adobe does: inverted."""
        picture = seen(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind)
        assert ends(picture) == (RED, RED)

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
    def test_sixteen_bits_of_grey_keep_their_shades(self, kind: str) -> None:
        assert ends(seen(two_halves("I;16", 32768, 65535), kind)) == ((128, 128, 128), WHITE)

    def test_a_transparent_grey_of_sixteen_bits_does_not_hide_another(self) -> None:
        assert ends(seen(two_halves("I;16", 0, 65535), "PNG", transparency=0)) == (BLACK, WHITE)

    @pytest.mark.parametrize(("value", "shade"), [(200, 200), (65535, 255), (32768, 128)])
    def test_thirty_two_bits_of_grey(self, value: int, shade: int) -> None:
        other = 65535 if value > 255 else 0
        assert ends(seen(two_halves("I", value, other), "TIFF"))[0] == (shade,) * 3

    @pytest.mark.parametrize(("value", "highest", "shade"), [(0.5, 1.0, 128), (100.0, 200.0, 100)])
    def test_floats(self, value: float, highest: float, shade: int) -> None:
        assert ends(seen(two_halves("F", value, highest), "TIFF"))[0] == (shade,) * 3

    def test_the_first_frame_of_an_animation(self) -> None:
        for kind in ("GIF", "PNG", "WEBP", "TIFF"):
            frames = [Image.new("RGB", (16, 16), RED), Image.new("RGB", (16, 16), WHITE)]
            options = {"lossless": True} if kind == "WEBP" else {}
            content = file_of(frames[0], kind, save_all=True, append_images=frames[1:], **options)
            assert ends(decode(content, max_px=MAX_PX)) == (RED, RED), kind


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_is_applied(self, kind: str, orientation: int) -> None:
        upright = Image.new("RGB", (48, 32), WHITE)
        upright.paste(RED, (0, 0, 16, 16))
        how_cameras_store_it = {
            1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
            4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
            7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
        }  # fmt: skip
        stored = upright
        for move in how_cameras_store_it[orientation]:
            stored = stored.transpose(move)
        exif = Image.Exif()
        exif[0x0112] = orientation
        picture = seen(stored, kind, exif=exif)
        assert picture.size == (48, 32)
        red, white = ends(picture)
        assert red[1] < 60
        assert min(white) > 220

    def test_broken_exif_does_not_spoil_a_picture(self) -> None:
        assert ends(seen(Image.new("RGB", (16, 16), RED), "PNG", exif=b"Exif\0\0garbage")) == (RED, RED)


def profile_with_red_and_green_exchanged() -> bytes:
    """A smallest possible RGB profile, so that a converted picture cannot be mistaken for an untouched one."""

    def xyz(x: float, y: float, z: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in (x, y, z))

    name = b"exchanged\0"
    bodies = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + bytes(78),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"rXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"gXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7139),
    } | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)))
    at, table, data = 128 + 4 + 12 * len(bodies), b"", b""
    for tag, body in bodies.items():
        body += bytes(-len(body) % 4)
        table += struct.pack(">4sII", tag, at + len(data), len(body))
        data += body
    head = struct.pack(">I4sI4s4s4s", at + len(data), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061) + bytes(48)
    assert len(head) == 128
    return head + struct.pack(">I", len(bodies)) + table + data


class TestColourProfiles:
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
    def test_another_profile_is_converted(self, mode: str) -> None:
        picture = seen(
            Image.new("RGB", (16, 16), (0, 255, 0)).convert(mode),
            "PNG",
            icc_profile=profile_with_red_and_green_exchanged(),
        )
        red = ends(picture)[0]
        assert red[0] > 240
        assert red[1] < 30

    @pytest.mark.parametrize("mode", ["RGB", "L", "LA", "CMYK"])
    def test_a_useless_profile_is_ignored(self, mode: str) -> None:
        kind = "TIFF" if mode == "CMYK" else "PNG"
        for profile in (b"nonsense", profile_with_red_and_green_exchanged()[:200]):
            picture = seen(Image.new("RGB", (16, 16), WHITE).convert(mode), kind, icc_profile=profile)
            assert ends(picture) == (WHITE, WHITE)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_that_claims(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


class TestHostileBytes:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\0" * 10_000,
            b"<html><body>404</body></html>",
            b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
            b"PK\x03\x04" + bytes(100),
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0",
            b"GIF89a\xff\xff\xff\xff\0\0\0",
        ],
        ids=["empty", "zeros", "html", "svg", "postscript", "zip", "png head", "jpeg head", "gif head"],
    )
    def test_no_picture(self, content: bytes) -> None:
        assert problem_of(content) == "image_load_error"

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP"])
    def test_a_cut_off_picture(self, kind: str) -> None:
        content = file_of(Image.effect_noise((64, 64), 90).convert("RGB"), kind)
        assert problem_of(content[: len(content) // 2]) == "image_load_error"

    @pytest.mark.parametrize("side", [1_001, 11_000, 60_000])
    def test_a_bomb_is_refused_by_its_header(self, side: int) -> None:
        assert problem_of(png_that_claims(side, side)) == "image_too_large"

    def test_a_bomb_inside_an_icon_is_refused_before_it_is_decoded(self) -> None:
        inside = png_that_claims(1_001, 1_001)
        icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<4B2H2I", 16, 16, 0, 0, 1, 32, len(inside), 22) + inside
        assert problem_of(icon) == "image_too_large"

    def test_no_pixels_at_all(self) -> None:
        assert problem_of(png_that_claims(0, 5)) == "image_load_error"

    @settings(max_examples=150, deadline=None)
    @given(
        kind=st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP", "ICO", "TGA", "PPM", "AVIF"]),
        at=st.floats(0, 1),
        junk=st.binary(min_size=1, max_size=8),
    )
    @pytest.mark.filterwarnings("ignore::UserWarning:PIL")
    def test_any_damage_is_a_picture_or_a_problem(self, kind: str, at: float, junk: bytes) -> None:
        content = bytearray(file_of(Image.linear_gradient("L").resize((24, 24)).convert("RGB"), kind))
        place = int(at * (len(content) - len(junk)))
        content[place : place + len(junk)] = junk
        try:
            picture = decode(bytes(content), max_px=MAX_PX)
        except InvalidInput as error:
            refused = error.problems[0].type
        else:
            refused = None
            assert picture.mode == "RGB"
            assert picture.width * picture.height <= MAX_PX
        assert refused in (None, "image_load_error", "image_too_large")


def fits_in_gzip(side: int) -> bytes:
    """Black; so small a file that Pillow unpacks in a loop over its pixels."""

    def cards(**values: object) -> bytes:
        lines = [f"{name:8}= {value}".ljust(80) for name, value in values.items()]
        text = "".join([*lines, "END".ljust(80)]).encode()
        return text + b" " * (-len(text) % 2880)

    table = {"XTENSION": "'BINTABLE'", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 8, "NAXIS2": side}
    picture = {"ZIMAGE": "T", "ZCMPTYPE": "'GZIP_1  '", "ZBITPIX": 8, "ZNAXIS": 2, "ZNAXIS1": side, "ZNAXIS2": side}
    head = cards(SIMPLE="T", BITPIX=8, NAXIS=0, EXTEND="T") + cards(**table, **picture)
    return head + bytes(8 * side) + gzip.compress(bytes(4 * side * side))


def bmp_in_runs() -> bytes:
    runs = b"\x08\0\0\0" * 8 + b"\0\1"
    return (
        struct.pack("<2sI4xI", b"BM", 54 + 1024 + len(runs), 54 + 1024)
        + struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, len(runs), 0, 0, 256, 0)
        + bytes(1024)
        + runs
    )


class TestDecodersInPython:
    """They hold the interpreter for seconds, and a few of them hold up the whole process."""

    @pytest.mark.parametrize("kind", ["DDS", "JPEG2000", "PCX", "SGI", "SPIDER"])
    def test_a_rare_format_is_not_read(self, kind: str) -> None:
        assert problem_of(file_of(Image.new("L", (32, 32), 9), kind)) == "image_load_error"

    @pytest.mark.parametrize(
        "content",
        [fits_in_gzip(8), bmp_in_runs(), b"P2 2 1 255 7 9", b"P5 2 1 254 xy"],
        ids=["fits", "bmp in runs", "pgm in words", "pgm to be scaled"],
    )
    def test_nor_is_a_rare_variant(self, content: bytes) -> None:
        assert problem_of(content) == "image_load_error"

    def test_nor_is_one_inside_an_icon(self) -> None:
        inside = bytearray(bmp_in_runs()[14:])
        struct.pack_into("<i", inside, 8, 16)  # an icon's height is told twofold: a mask follows the picture
        icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<4B2H2I", 8, 8, 0, 0, 1, 8, len(inside), 22) + inside
        assert problem_of(icon + bytes(64)) == "image_load_error"


def tiff_with(tag: int, kind: int, count: int, values: bytes, *, order: str = "<", big: bool = False) -> bytes:
    """One grey pixel that lies on its side, and a tag of many values."""
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 274: 6, 277: 1, 278: 1, 279: 1}
    entry, number, head = ("HHQQ", "Q", 16) if big else ("HHII", "H", 8)
    table = struct.calcsize(f"={number}") + (len(tags) + 1) * struct.calcsize(f"={entry}") + (8 if big else 4)
    rows = [(name, 16 if big else 4, 1, value) for name, value in tags.items()]
    rows = sorted([*rows, (tag, kind, count, head + table)])
    begins = (b"II" if order == "<" else b"MM") + (
        struct.pack(order + "HHHQ", 43, 8, 0, 16) if big else struct.pack(order + "HI", 42, 8)
    )
    body = struct.pack(order + number, len(rows)) + b"".join(struct.pack(order + entry, *row) for row in rows)
    return begins + body + bytes(8 if big else 4) + values


def tiled_tiff(side: int, tile: int, *, order: str = "<", big: bool = False, kind: int = 3) -> bytes:
    """Grey, of one tile that may be larger than the picture."""
    pixels = zlib.compress(b"\xc8" * tile * tile, 9)
    head = 16 if big else 8
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 277: 1, 322: tile, 323: tile, 324: head, 325: len(pixels)}
    number, entry, wide = ("Q", "HHQ", 8) if big else ("H", "HHI", 4)
    rows = b"".join(
        struct.pack(order + entry, tag, of, 1)
        + struct.pack(order + ("I" if of == 4 else "H"), value).ljust(wide, b"\0")
        for tag, value in tags.items()
        for of in [4 if tag > 323 else kind]
    )
    mark = b"II" if order == "<" else b"MM"
    directory = head + len(pixels)
    begins = struct.pack(order + "HHHQ", 43, 8, 0, directory) if big else struct.pack(order + "HI", 42, directory)
    return mark + begins + pixels + struct.pack(order + number, len(tags)) + rows + bytes(wide)


class TestPixelsInHiding:
    """What is decoded at once may be more than the size that a file tells."""

    @pytest.mark.parametrize("kind", [3, 4])
    @pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
    def test_a_small_tiff_of_a_large_tile(self, order: str, big: bool, kind: int) -> None:
        assert problem_of(tiled_tiff(64, 4096, order=order, big=big, kind=kind)) == "image_too_large"
        honest = decode(tiled_tiff(64, 128, order=order, big=big, kind=kind), max_px=MAX_PX)
        assert (honest.size, honest.getpixel((0, 0))) == ((64, 64), (200,) * 3)

    @pytest.mark.parametrize("kind", [16, 17])
    def test_a_side_that_does_not_stand_in_its_field(self, kind: int) -> None:
        """Such numbers take eight bytes, and the field of a tag has four: it says where they are."""
        content = bytearray(tiled_tiff(64, 64, kind=4))
        for tag in (322, 323):
            struct.pack_into("<H", content, content.rindex(struct.pack("<HHI", tag, 4, 1)) + 2, kind)
        assert problem_of(bytes(content)) == "image_load_error"

    def test_large_tiles_and_avifs_are_decoded_two_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        entered: list[str] = []

        class Watched(nullcontext[None]):
            def __enter__(self) -> None:
                entered.append("once")

        monkeypatch.setattr(pictures, "_few_large_ones", Watched())
        monkeypatch.setattr(pictures, "_LARGE_PX", 1_000_000)
        decode(tiled_tiff(64, 512), max_px=MAX_PX)
        decode(file_of(Image.new("RGB", (512, 512)), "PNG"), max_px=MAX_PX)
        assert entered == []
        decode(tiled_tiff(64, 1024), max_px=2 * MAX_PX)
        decode(file_of(Image.new("RGB", (64, 64)), "AVIF"), max_px=MAX_PX)
        assert entered == ["once"] * 2


class TestSlowFiles:
    """Pillow understands all but pixels in loops of Python: what would make it go round too often is not read."""

    jpeg = file_of(Image.new("L", (512, 512), 200), "JPEG", progressive=True)
    png = file_of(Image.new("RGB", (16, 16), RED), "PNG")
    gif = file_of(Image.new("L", (16, 16), 200), "GIF")

    @pytest.mark.parametrize(
        "content",
        [
            jpeg[:2] + b"\xff\xe9\0\2" * 50_000 + jpeg[2:],
            jpeg[:2] + b"\xff" * 200_000 + jpeg[2:],
            png[:33] + chunk(b"tIMx", b"") * 20_000 + png[33:],
            gif[: gif.index(b",", 13)] + b"\x21\xfe\1a\0" * 20_000 + gif[gif.index(b",", 13) :],
            b"P5\n#" + b"#" * 100_000 + b"\n2 1\n255\nxy",
        ],
        ids=["jpeg of markers", "jpeg of filling", "png of chunks", "gif of comments", "pgm of a comment"],
    )
    def test_very_many_small_pieces(self, content: bytes) -> None:
        assert problem_of(content) == "image_load_error"

    def test_a_head_without_end(self) -> None:
        segment = (
            b"\xff\xed" + struct.pack(">H", 60_002) + b"Photoshop 3.0\0" + b"8BIM\0\0\0\0\0\0\0\0" * 4998 + bytes(10)
        )
        assert problem_of(self.jpeg[:2] + segment * 75 + self.jpeg[2:]) == "image_load_error"
        assert decode(self.jpeg[:2] + segment + self.jpeg[2:], max_px=MAX_PX).size == (512, 512)

    @pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
    def test_a_tiff_with_very_many_values(self, order: str, big: bool) -> None:
        values = struct.pack(order + "II", 3, 2) * 70_000
        assert problem_of(tiff_with(37_000, 5, 70_000, values, order=order, big=big)) == "image_load_error"
        assert decode(tiff_with(37_000, 5, 1, values, order=order, big=big), max_px=MAX_PX).size == (1, 1)
        assert decode(tiff_with(37724, 7, 70_000, values, order=order, big=big), max_px=MAX_PX).size == (1, 1)

    @pytest.mark.parametrize("pointer", [34665, 34853])
    @pytest.mark.parametrize("deeper", [False, True])
    def test_a_tiff_with_very_many_values_in_a_directory_inside(self, pointer: int, deeper: bool) -> None:
        def directory(tag: int, kind: int, count: int, at: int) -> bytes:
            return struct.pack("<HHHIII", 1, tag, kind, count, at, 0)

        values = bytes(8 * 70_000)
        outer = tiff_with(pointer, 4, 1, b"")
        at = len(outer)
        (own,) = struct.unpack_from("<I", outer, outer.rindex(struct.pack("<HHI", pointer, 4, 1)) + 8)
        assert own == at
        inner = directory(40965, 4, 1, at + 18) if deeper else b""
        for count in (1, 70_000):
            content = outer + inner + directory(37122, 5, count, at + len(inner) + 18) + values
            if count == 1:
                assert decode(content, max_px=MAX_PX).size == (1, 1)
            else:
                assert problem_of(content) == "image_load_error"

    def test_directories_that_lead_in_a_circle(self) -> None:
        circle = tiff_with(34665, 4, 1, b"")
        content = bytearray(circle)
        struct.pack_into("<I", content, circle.rindex(struct.pack("<HHI", 34665, 4, 1)) + 8, 8)
        assert problem_of(bytes(content)) == "image_load_error"

    def test_a_jpeg_whose_exif_comes_in_very_many_pieces(self) -> None:
        exif = tiff_with(0x0128, 5, 1, bytes(8))
        piece = b"\xff\xe1" + struct.pack(">H", 8 + len(exif)) + b"Exif\0\0" + exif
        assert decode(self.jpeg[:2] + piece + self.jpeg[2:], max_px=MAX_PX).size[0] == 512
        assert problem_of(self.jpeg[:2] + piece * 20 + self.jpeg[2:]) == "image_load_error"

    def test_exif_with_very_many_values_is_passed_over(self) -> None:
        lying = Image.new("RGB", (16, 8), RED)
        for count, size in ((1, (8, 16)), (70_000, (16, 8))):
            assert seen(lying, "PNG", exif=tiff_with(282, 5, count, bytes(8 * count))).size == size

    def test_a_jpeg_that_goes_over_its_pixels_again_and_again(self) -> None:
        last = self.jpeg[self.jpeg.rindex(b"\xff\xc4") : -2]
        assert decode(self.jpeg[:-2] + last * 20 + b"\xff\xd9", max_px=MAX_PX).size == (512, 512)
        assert is_quick(self.jpeg)
        assert not is_quick(self.jpeg[:-2] + last * 100 + b"\xff\xd9")
        assert problem_of(self.jpeg[:-2] + last * 30_000 + b"\xff\xd9") == "image_load_error"

    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM", "TGA", "AVIF"])
    def test_a_large_honest_picture_is_none(self, kind: str) -> None:
        picture = Image.effect_noise((1600, 1200), 90).convert("RGB")
        assert decode(file_of(picture, kind), max_px=1600 * 1200).size == (1600, 1200)


class TestFit:
    def test_covers_and_cuts_the_middle(self) -> None:
        wide = Image.new("RGB", (300, 100), WHITE)
        wide.paste(RED, (100, 0, 200, 100))
        picture = fit(wide, (64, 64))
        assert picture.size == (64, 64)
        assert ends(picture) == (RED, RED)

    def test_leaves_alone_what_fits(self) -> None:
        picture = Image.new("RGB", (64, 64))
        assert fit(picture, (64, 64)) is picture


class TestEncode:
    def test_png_is_lossless_and_has_nothing_beside_its_pixels(self) -> None:
        picture = Image.effect_noise((64, 48), 90).convert("RGB")
        file = encode(picture, "png")
        assert (file.content_type, file.extension) == ("image/png", "png")
        assert Image.open(io.BytesIO(file.content)).info == {}
        assert decode(file.content, max_px=MAX_PX).tobytes() == picture.tobytes()

    def test_jpeg(self) -> None:
        file = encode(Image.new("RGB", (64, 48), RED), "jpeg")
        assert (file.content_type, file.extension) == ("image/jpeg", "jpeg")
        assert Image.open(io.BytesIO(file.content)).format == "JPEG"

    @pytest.mark.parametrize("output_format", ["png", "jpeg"])
    def test_the_same_twice_is_the_same_bytes(self, output_format: Any) -> None:
        picture = Image.effect_noise((64, 48), 90).convert("RGB")
        assert encode(picture, output_format) == encode(picture.copy(), output_format)
