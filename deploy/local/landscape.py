"""The picture that the demo starts from where nobody gives one: a lake before mountains, drawn by code.

The same at every run, free of anybody's rights, with large areas, fine detail and strong colours in it.
"""

import math

from PIL import Image, ImageChops, ImageDraw, ImageFilter

WIDTH, HEIGHT = 768, 512
HORIZON = 300
Colour = tuple[int, int, int]


def landscape() -> Image.Image:
    """An RGB picture of 768 by 512 pixels."""
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    draw = ImageDraw.Draw(picture)
    _gradient(draw, 0, HORIZON, (58, 96, 168), (250, 204, 150))
    draw.ellipse((530, 150, 620, 240), fill=(255, 240, 190))
    for base, height, waves, colour in (
        (HORIZON, 150, (1.3, 3.1, 7.0), (120, 118, 160)),
        (HORIZON, 95, (2.1, 4.7, 11.0), (78, 92, 116)),
        (HORIZON, 45, (3.7, 9.1, 23.0), (46, 78, 62)),
    ):
        draw.polygon(_ridge(base, height, waves), fill=colour)
    _mirror(picture)
    draw = ImageDraw.Draw(picture)
    draw.polygon([(0, 430), (180, 440), (420, 480), (560, HEIGHT), (0, HEIGHT)], fill=(60, 92, 44))
    for x, y, height in ((70, 455, 190), (150, 465, 130), (255, 480, 95)):
        _fir(draw, x, y, height)
    return picture


def _gradient(draw: ImageDraw.ImageDraw, top: int, bottom: int, above: Colour, below: Colour) -> None:
    for y in range(top, bottom):
        part = (y - top) / (bottom - top)
        colour = tuple(round(a + (b - a) * part) for a, b in zip(above, below, strict=True))
        draw.line((0, y, WIDTH, y), fill=colour)


def _ridge(base: int, height: int, waves: tuple[float, ...]) -> list[tuple[float, float]]:
    """A mountain range: the sum of waves of falling height, closed along its base line."""
    top: list[tuple[float, float]] = []
    for x in range(0, WIDTH + 1, 2):
        turn = x / WIDTH * math.tau
        share = sum(math.sin(turn * wave + 2.3 * wave) / (index + 1) for index, wave in enumerate(waves))
        top.append((x, base - height * (0.55 + 0.3 * share)))
    return [(0, base), *top, (WIDTH, base)]


def _mirror(picture: Image.Image) -> None:
    """The lake shows what is above it, darker, bluer and not quite still."""
    above = picture.crop((0, 2 * HORIZON - HEIGHT, WIDTH, HORIZON)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    water = Image.blend(above.filter(ImageFilter.BoxBlur(2)), Image.new("RGB", above.size, (24, 60, 96)), 0.4)
    for y in range(water.height):
        row = water.crop((0, y, WIDTH, y + 1))
        picture.paste(ImageChops.offset(row, round(3 * math.sin(y / 3.0)), 0), (0, HORIZON + y))


def _fir(draw: ImageDraw.ImageDraw, x: int, y: int, height: int) -> None:
    draw.rectangle((x - height // 28, y - height // 5, x + height // 28, y), fill=(70, 50, 36))
    for layer in range(5):
        bottom = y - height * (0.12 + 0.16 * layer)
        half = height * (0.25 - 0.04 * layer)
        draw.polygon(
            [(x - half, bottom), (x + half, bottom), (x, bottom - height * 0.32)], fill=(22, 58 + 7 * layer, 38)
        )
