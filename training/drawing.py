"""A scene -> pixels, with Pillow and numpy. The same scene is the same picture, at any size; where everything stands
hangs on its seed alone, so that the same place can be drawn in another season or light.

Painted back to front at twice the size and scaled down: sky, sun or moon, relief, ground, water, trees, house,
boat, animal, weather, style.
"""

import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from training.scenes import Scene

Colour = tuple[int, int, int]
Point = tuple[float, float]

SKIES: dict[str, tuple[tuple[Colour, Colour], ...]] = {
    "day": (((70, 140, 225), (185, 220, 245)), ((95, 165, 235), (215, 232, 245)), ((55, 120, 205), (160, 205, 240))),
    "sunset": (((110, 60, 120), (250, 140, 70)), ((190, 70, 70), (255, 180, 90)), ((80, 60, 130), (240, 110, 80))),
    "night": (((6, 8, 30), (28, 34, 74)), ((3, 4, 18), (20, 24, 52)), ((12, 14, 44), (40, 46, 92))),
    "dawn": (((130, 150, 205), (250, 200, 190)), ((150, 140, 190), (255, 214, 180))),
}
GROUNDS: dict[str, tuple[Colour, ...]] = {
    "grass": ((70, 145, 55), (95, 165, 70), (60, 120, 50)),
    "autumn": ((185, 120, 45), (165, 135, 60), (150, 95, 40)),
    "snow": ((238, 242, 250), (225, 233, 245), (245, 246, 248)),
    "sand": ((222, 192, 130), (208, 172, 110), (232, 205, 150)),
}
LEAVES: dict[str, tuple[Colour, ...]] = {
    "grass": ((40, 110, 40), (60, 130, 50), (35, 95, 55)),
    "autumn": ((205, 95, 30), (220, 150, 40), (170, 55, 35)),
    "snow": ((205, 220, 225), (60, 95, 75), (225, 232, 240)),
    "sand": ((70, 130, 60), (95, 140, 60), (80, 120, 70)),
}
PAINTS: dict[str, Colour] = {
    "red": (200, 40, 35),
    "blue": (45, 85, 200),
    "yellow": (240, 205, 60),
    "white": (240, 238, 232),
    "green": (60, 150, 75),
    "purple": (135, 60, 165),
    "grey": (170, 166, 160),
}
LIGHT: dict[str, tuple[float, Colour]] = {
    "day": (1.0, (255, 255, 255)),
    "sunset": (0.72, (255, 175, 130)),
    "night": (0.4, (150, 170, 255)),
    "dawn": (0.85, (255, 222, 215)),
}
"""How much of a colour is left, and what light falls on it."""
FURS: dict[str, Colour] = {"sheep": (236, 232, 220), "cow": (120, 75, 50), "cat": (70, 64, 62), "bird": (40, 40, 48)}


def _blend(a: Colour, b: Colour, share: float) -> Colour:
    return tuple(round(x + (y - x) * share) for x, y in zip(a, b, strict=True))  # pyright: ignore[reportReturnType]


class _Canvas:
    """What every part of a scene is painted on. Coordinates are shares of the sides, from the top left."""

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        self.scene = scene
        self.width, self.height = width, height
        self.begin("sky")
        self.horizon = self.rng.uniform(0.42, 0.66)
        self.shore = 0.88
        """Nothing that stands on the ground has its foot below this."""
        shade, tint = LIGHT[scene.time]
        dull = {"clear": 1.0, "cloudy": 0.94, "rain": 0.8, "fog": 0.95, "snowfall": 0.95}[scene.weather]
        self._light = [shade * dull * t / 255 for t in tint]
        self.image = Image.fromarray(self._sky())
        self.draw = ImageDraw.Draw(self.image)

    def begin(self, part: str) -> None:
        """Every part draws its own lots: how many one of them took must not move the next."""
        self.rng = random.Random(f"{self.scene.seed} {part}")

    def lit(self, colour: Colour, jitter: int = 0) -> Colour:
        moved = self.rng.randint(-jitter, jitter) if jitter else 0
        lit = (min(255, max(0, round((c + moved) * k))) for c, k in zip(colour, self._light, strict=True))
        return tuple(lit)  # pyright: ignore[reportReturnType]

    def _sky(self) -> NDArray[np.uint8]:
        top, bottom = self.rng.choice(SKIES[self.scene.time])
        grey = {"clear": 0.0, "cloudy": 0.25, "rain": 0.65, "fog": 0.5, "snowfall": 0.5}[self.scene.weather]
        cast: Colour = (40, 42, 52) if self.scene.time == "night" else (176, 180, 188)
        top, bottom = _blend(top, cast, grey), _blend(bottom, cast, grey)
        down = np.clip(np.linspace(0, 1 / self.horizon, self.height), 0, 1)[:, None, None]
        sky = np.array(top) + (np.array(bottom) - np.array(top)) * down
        return np.broadcast_to(sky.round(), (self.height, self.width, 3)).astype(np.uint8)

    def at(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.width, y * self.height) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self.draw.polygon(self.at(points), fill=colour)

    def ellipse(self, x: float, y: float, radius: float, colour: Colour, flat: float = 1.0) -> None:
        """`radius` is a share of the shorter side; `flat` squeezes it vertically."""
        reach = radius * min(self.width, self.height)
        px, py = x * self.width, y * self.height
        self.draw.ellipse((px - reach, py - reach * flat, px + reach, py + reach * flat), fill=colour)

    def ridge(self, base: float, rise: float, waves: Sequence[tuple[float, float, float]], jag: float) -> list[Point]:
        """A closed outline from a wavy or jagged line at `base` down to the bottom."""
        line: list[Point] = []
        for k in range(65):
            x = k / 64
            y = sum(a * math.sin(f * x * math.tau + p) for a, f, p in waves)
            line.append((x, base - rise * (0.5 + 0.5 * y) + self.rng.uniform(-jag, jag)))
        return [*line, (1, 1), (0, 1)]


def _lights(canvas: _Canvas) -> None:
    rng, scene = canvas.rng, canvas.scene
    covered = scene.weather in ("rain", "fog", "snowfall")
    if scene.time == "night":
        if not covered:
            for _ in range(rng.randint(25, 70)):
                glow = rng.randint(130, 255)
                canvas.ellipse(
                    rng.random(), rng.random() * canvas.horizon, rng.uniform(0.002, 0.006), (glow, glow, glow)
                )
        canvas.ellipse(rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.3), rng.uniform(0.04, 0.07), (236, 234, 214))
    elif not covered:
        low = scene.time in ("sunset", "dawn")
        y = canvas.horizon - rng.uniform(0.02, 0.12) if low else rng.uniform(0.08, 0.25)
        colour = {"day": (255, 246, 190), "sunset": (255, 205, 110), "dawn": (255, 232, 190)}[scene.time]
        canvas.ellipse(rng.uniform(0.1, 0.9), y, rng.uniform(0.05, 0.08), colour)
    if scene.weather == "cloudy":
        for _ in range(rng.randint(3, 6)):
            x, y, size = rng.random(), rng.uniform(0.05, canvas.horizon * 0.7), rng.uniform(0.04, 0.08)
            for k in range(5):
                shift = (k - 2) * size * 0.7
                canvas.ellipse(x + shift, y + rng.uniform(-1, 1) * size * 0.2, size, canvas.lit((250, 250, 252)), 0.6)


def _land(canvas: _Canvas) -> None:
    rng, scene = canvas.rng, canvas.scene
    ground = rng.choice(GROUNDS[scene.ground])
    if scene.relief == "mountains":
        rock = (225, 230, 240) if scene.ground == "snow" else (112, 112, 124)
        for depth in (0.35, 0.15):
            peaks: list[Point] = [(-0.1, canvas.horizon)]
            x = -0.1
            while x < 1.1:
                x += rng.uniform(0.08, 0.2)
                peaks += [(x, canvas.horizon - rng.uniform(0.12, 0.34)), (x + 0.1, canvas.horizon - 0.04)]
            colour = canvas.lit(_blend(rock, (150, 170, 200), depth))
            canvas.polygon([*peaks, (1.3, canvas.horizon), (1.3, 1), (-0.1, 1)], colour)
    if scene.relief == "hills":
        for depth in (0.45, 0.25):
            waves = [(0.6, rng.uniform(0.6, 1.6), rng.uniform(0, 6.3)), (0.3, rng.uniform(2, 3), rng.uniform(0, 6.3))]
            colour = canvas.lit(_blend(ground, (140, 160, 190), depth))
            canvas.polygon(canvas.ridge(canvas.horizon + 0.02, rng.uniform(0.1, 0.22), waves, 0.0), colour)
    waves = [(0.5, rng.uniform(0.5, 1.2), rng.uniform(0, 6.3))]
    canvas.polygon(canvas.ridge(canvas.horizon + 0.03, 0.04, waves, 0.001), canvas.lit(ground))
    for _ in range(60):
        x, y = rng.random(), rng.uniform(canvas.horizon + 0.05, 1)
        canvas.ellipse(x, y, rng.uniform(0.004, 0.02), canvas.lit(ground, 14), 0.35)


def _water(canvas: _Canvas) -> float:
    """Paints the water; returns the height at which a boat may lie."""
    rng, scene = canvas.rng, canvas.scene
    blue = canvas.lit(_blend((50, 115, 175), canvas.image.getpixel((3, 3)), 0.25))  # pyright: ignore[reportArgumentType]
    if scene.water == "sea":
        top = canvas.horizon + rng.uniform(0.1, 0.18)
        canvas.shore = top
        canvas.polygon([(0, top), (1, top), (1, 1), (0, 1)], blue)
        middle = (top + 1) / 2
    elif scene.water == "lake":
        middle = rng.uniform(canvas.horizon + 0.16, 0.86)
        canvas.ellipse(rng.uniform(0.3, 0.7), middle, rng.uniform(0.3, 0.5), blue, rng.uniform(0.2, 0.35))
    else:
        x, middle = rng.uniform(0.3, 0.7), 0.9
        left: list[Point] = []
        right: list[Point] = []
        for k in range(13):
            y = canvas.horizon + 0.04 + (1 - canvas.horizon) * k / 12
            bend, reach = 0.08 * math.sin(k / 2 + x * 9), 0.015 + 0.013 * k
            left.append((x + bend - reach, y))
            right.append((x + bend + reach, y))
        canvas.polygon([*left, *reversed(right)], blue)
    return middle


def _tree(canvas: _Canvas, x: float, foot: float, size: float) -> None:
    rng, kind = canvas.rng, canvas.scene.trees
    leaf = canvas.lit(rng.choice(LEAVES[canvas.scene.ground]), 10)
    trunk = canvas.lit((95, 65, 42))
    canvas.polygon([(x - size * 0.06, foot), (x + size * 0.06, foot), (x + size * 0.04, foot - size * 0.5),
                    (x - size * 0.04, foot - size * 0.5)], trunk)  # fmt: skip
    if kind == "pine":
        for k in range(3):
            y, reach = foot - size * (0.25 + 0.28 * k), size * (0.32 - 0.07 * k)
            canvas.polygon([(x - reach, y), (x + reach, y), (x, y - size * 0.45)], leaf)
        if canvas.scene.ground == "snow":
            canvas.polygon([(x - size * 0.1, foot - size), (x + size * 0.1, foot - size), (x, foot - size * 1.25)],
                           canvas.lit((245, 248, 252)))  # fmt: skip
    elif kind == "palm":
        for angle in (-2.8, -2.2, -1.57, -0.9, -0.35):
            tip = (x + math.cos(angle) * size * 0.4, foot - size * 0.75 + math.sin(angle) * size * 0.2)
            canvas.polygon([(x, foot - size * 0.5), tip, (x + 0.01, foot - size * 0.62)], leaf)
    else:
        for dx, dy, reach in ((0, -0.75, 0.3), (-0.2, -0.6, 0.22), (0.2, -0.6, 0.22)):
            canvas.ellipse(x + dx * size, foot + dy * size, reach * size, leaf)


def _house(canvas: _Canvas, colour: str) -> None:
    rng = canvas.rng
    x, foot, size = rng.uniform(0.15, 0.8), rng.uniform(canvas.horizon + 0.05, canvas.shore), rng.uniform(0.15, 0.5)
    if canvas.scene.near:
        x, foot, size = 0.35 + 0.3 * x, 0.92, 0.5 + 0.5 * size
    wall, roof = canvas.lit(PAINTS[colour], 8), canvas.lit(rng.choice(((110, 60, 50), (85, 80, 90), (60, 50, 48))))
    if canvas.scene.ground == "snow":
        roof = canvas.lit((240, 243, 248))
    canvas.polygon([(x - size / 2, foot), (x + size / 2, foot), (x + size / 2, foot - size * 0.6),
                    (x - size / 2, foot - size * 0.6)], wall)  # fmt: skip
    canvas.polygon([(x - size * 0.6, foot - size * 0.6), (x + size * 0.6, foot - size * 0.6), (x, foot - size)], roof)
    glass = (255, 220, 120) if canvas.scene.time == "night" else canvas.lit((190, 215, 235))
    for dx in (-0.25, 0.2):
        left, top = x + dx * size, foot - size * 0.45
        canvas.polygon([(left, top), (left + size * 0.14, top), (left + size * 0.14, top + size * 0.16),
                        (left, top + size * 0.16)], glass)  # fmt: skip
    canvas.polygon([(x - size * 0.06, foot), (x + size * 0.08, foot), (x + size * 0.08, foot - size * 0.28),
                    (x - size * 0.06, foot - size * 0.28)], canvas.lit((80, 55, 40)))  # fmt: skip


def _boat(canvas: _Canvas, colour: str, y: float) -> None:
    x, size = canvas.rng.uniform(0.3, 0.7), canvas.rng.uniform(0.1, 0.18)
    hull = [(x - size / 2, y - 0.02), (x + size / 2, y - 0.02), (x + size * 0.32, y + size * 0.16),
            (x - size * 0.32, y + size * 0.16)]  # fmt: skip
    canvas.polygon(hull, canvas.lit(PAINTS[colour]))
    canvas.polygon([(x, y - size * 0.8), (x, y - 0.03), (x + size * 0.4, y - 0.03)], canvas.lit((244, 242, 235)))
    canvas.polygon([(x - 0.006, y - size * 0.85), (x + 0.004, y - size * 0.85), (x + 0.004, y), (x - 0.006, y)],
                   canvas.lit((90, 65, 45)))  # fmt: skip


def _animal(canvas: _Canvas, kind: str) -> None:
    rng = canvas.rng
    fur, size = canvas.lit(FURS[kind], 8), rng.uniform(0.035, 0.06)
    if kind == "bird":
        for _ in range(rng.randint(2, 5)):
            x, y = rng.uniform(0.1, 0.9), rng.uniform(0.1, canvas.horizon * 0.8)
            canvas.polygon([(x - size, y - size * 0.5), (x, y), (x + size, y - size * 0.5), (x, y + size * 0.3)], fur)
        return
    for _ in range(rng.randint(1, 3)):
        x, y = rng.uniform(0.1, 0.9), rng.uniform(canvas.horizon + 0.06, canvas.shore)
        for dx in (-0.6, 0.5):
            canvas.polygon([(x + dx * size, y), (x + (dx + 0.2) * size, y), (x + (dx + 0.2) * size, y + size),
                            (x + dx * size, y + size)], canvas.lit((60, 50, 45)))  # fmt: skip
        canvas.ellipse(x, y, size, fur, 0.62)
        head = canvas.lit((50, 46, 44)) if kind == "sheep" else fur
        canvas.ellipse(x + size * 0.95, y - size * 0.45, size * 0.4, head)
        if kind == "cat":
            canvas.polygon([(x + size * 0.7, y - size * 0.7), (x + size * 0.8, y - size * 1.15),
                            (x + size * 1.2, y - size * 0.7)], head)  # fmt: skip


def _weather(canvas: _Canvas) -> None:
    rng, scene = canvas.rng, canvas.scene
    if scene.weather == "fog":
        veil = Image.new("RGB", canvas.image.size, canvas.lit((205, 208, 214)))
        canvas.image.paste(Image.blend(canvas.image, veil, rng.uniform(0.4, 0.6)))
    elif scene.weather == "rain":
        for _ in range(rng.randint(90, 160)):
            x, y, length = rng.random() * 1.1, rng.random(), rng.uniform(0.02, 0.05)
            ends = canvas.at([(x, y), (x - length * 0.3, y + length)])
            canvas.draw.line(ends, fill=canvas.lit((205, 214, 226)), width=max(1, canvas.width // 256))
    elif scene.weather == "snowfall":
        for _ in range(rng.randint(90, 180)):
            canvas.ellipse(rng.random(), rng.random(), rng.uniform(0.003, 0.008), canvas.lit((252, 252, 255)))


def _styled(canvas: _Canvas) -> Image.Image:
    image, style, scale = canvas.image, canvas.scene.style, min(canvas.width, canvas.height) / 512
    if style == "watercolour":
        soft = image.filter(ImageFilter.GaussianBlur(5 * scale))
        return Image.blend(soft, Image.new("RGB", image.size, (250, 246, 236)), 0.22)
    if style == "oil":
        return image.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.UnsharpMask(3 * scale, 120, 0))
    if style == "sketch":
        grey = image.convert("L")
        lines = grey.filter(ImageFilter.GaussianBlur(scale)).filter(ImageFilter.FIND_EDGES).point(lambda v: 255 - 4 * v)
        return Image.blend(grey.point(lambda v: 150 + v * 0.4), lines, 0.45).convert("RGB")
    if style == "pixel":
        small = image.resize((max(1, canvas.width // 16), max(1, canvas.height // 16)), Image.Resampling.BOX)
        return small.resize(image.size, Image.Resampling.NEAREST)
    return image


def draw(scene: Scene, width: int = 256, height: int = 256) -> Image.Image:
    """RGB, `width` × `height` pixels."""
    canvas = _Canvas(scene, width * 2, height * 2)
    canvas.begin("lights")
    _lights(canvas)
    canvas.begin("land")
    _land(canvas)
    canvas.begin("water")
    boat_y = _water(canvas) if scene.water else 0.9
    canvas.begin("trees")
    if scene.trees:
        many = canvas.rng.randint(1, 9)
        feet = sorted(canvas.rng.uniform(canvas.horizon + 0.03, canvas.shore) for _ in range(many))
        for foot in feet:
            _tree(canvas, canvas.rng.random(), foot, 0.09 + 0.35 * (foot - canvas.horizon))
    canvas.begin("house")
    if scene.house:
        _house(canvas, scene.house)
    canvas.begin("boat")
    if scene.boat:
        _boat(canvas, scene.boat, boat_y)
    canvas.begin("animal")
    if scene.animal:
        _animal(canvas, scene.animal)
    canvas.begin("weather")
    _weather(canvas)
    return _styled(canvas).resize((width, height), Image.Resampling.BOX)
