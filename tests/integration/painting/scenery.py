"""Landscapes that the tiny model was not trained on, drawn by code that has nothing in common with its teacher's.

Every pixel is computed from fields (distances and smooth noise); there are no outlines to be filled. Owns where the sky
and the ground are, which is what the tests measure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float64]


@dataclass(frozen=True)
class Scenery:
    """`picture` is square RGB. The others, (side, side) of bool, tell which of its pixels are nothing else."""

    seed: int
    picture: Image.Image
    sky: NDArray[np.bool_]
    ground: NDArray[np.bool_]
    house: NDArray[np.bool_]


def summer_day(seed: int, side: int) -> Scenery:
    """A grey house on green land under a blue sky: what night, snow, sunset and paint each change a great deal."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    horizon = rng.uniform(0.45, 0.58)
    pixels = _between(y / horizon, (84, 142, 214), (196, 222, 240))
    pixels += 14 * _noise(rng, x * 3, y * 7)[..., None] * (y < horizon)[..., None]
    far = horizon - 0.10 - 0.07 * _noise(rng, x * 4, 0 * x)
    near = horizon + 0.03 * _noise(rng, x * 2, 0 * x)
    sky = y < far - 0.02
    pixels = _over(pixels, (118, 150, 138), _edge(y - far, side))
    land = _between((y - horizon) / (1 - horizon), (112, 160, 84), (74, 128, 52))
    land += 10 * _noise(rng, x * 30, y * 30)[..., None]
    pixels = _over(pixels, land, _edge(y - near, side))
    ground = y > near + 0.12
    middle, floor = rng.uniform(0.3, 0.7), horizon + 0.16
    for _ in range(3):
        left, foot, tall = rng.uniform(0.1, 0.9), rng.uniform(horizon + 0.06, horizon + 0.12), rng.uniform(0.1, 0.16)
        crown = np.hypot((x - left) / 0.7, y - (foot - tall)) - tall * 0.45
        trunk = np.minimum(0.012 - abs(x - left), np.minimum(foot - y, y - foot + tall))
        pixels = _over(pixels, (92, 70, 48), _edge(trunk, side))
        pixels = _over(pixels, (52, 104, 50), _edge(-crown, side))
    wall_depth = np.minimum(0.13 - abs(x - middle), np.minimum(floor - y, y - floor + 0.2))
    roof_depth = np.minimum(floor - 0.2 - y, (y - floor + 0.34) * 1.1 - abs(x - middle))
    pixels = _over(pixels, (206, 200, 190), _edge(wall_depth, side))
    pixels = _over(pixels, (122, 112, 108), _edge(roof_depth, side))
    picture = Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))
    return Scenery(seed, picture, sky & (roof_depth < -0.02), ground & (wall_depth < -0.03), wall_depth > 0.02)


def _between(share: Field, above: tuple[int, int, int], below: tuple[int, int, int]) -> Field:
    """A vertical blend of two colours, (side, side, 3)."""
    part = np.clip(share, 0, 1)[..., None]
    return np.array(above) * (1 - part) + np.array(below) * part


def _over(pixels: Field, colour: "Field | tuple[int, int, int]", cover: Field) -> Field:
    return pixels * (1 - cover[..., None]) + np.array(colour) * cover[..., None]


def _edge(depth: Field, side: int) -> Field:
    """0 outside, 1 inside, and a soft step over two pixels between them. `depth` is positive inside."""
    return np.clip(depth * side / 2 + 0.5, 0, 1)


def _noise(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Smooth, about -1 to 1: a sum of waves of drawn directions."""
    total = np.zeros_like(x)
    for _ in range(6):
        fx, fy, phase = rng.normal(0, 2.5), rng.normal(0, 2.5), rng.uniform(0, 2 * np.pi)
        total += np.sin(fx * x + fy * y + phase)
    return total / 3
