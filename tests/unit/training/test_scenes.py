"""What the demonstration model learns from: pictures and sentences that agree with each other."""

import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.drawing import draw
from training.scenes import CHINESE, ENGLISH, STYLES, Scene, caption, compose

MEADOW = Scene("day", "grass", "clear", "hills", None, "round", "red", None, None, "plain", seed=7)


def pixels(scene: Scene, side: int = 128) -> NDArray[np.float64]:
    """(height, width, 3), 0 … 255."""
    return np.asarray(draw(scene, side, side)).astype(np.float64)


def test_the_same_scene_is_the_same_picture() -> None:
    assert np.array_equal(pixels(MEADOW), pixels(MEADOW))
    assert not np.array_equal(pixels(MEADOW), pixels(replace(MEADOW, seed=8)))


@pytest.mark.parametrize("size", [(256, 256), (192, 128), (64, 120)])
def test_a_scene_is_drawn_at_any_size(size: tuple[int, int]) -> None:
    assert draw(MEADOW, *size).size == size


@pytest.mark.parametrize("seed", range(5))
def test_the_words_are_true_of_the_pixels(seed: int) -> None:
    day = pixels(replace(MEADOW, seed=seed))
    sky, ground = slice(0, 30), slice(100, 128)

    night = pixels(replace(MEADOW, seed=seed, time="night"))
    snow = pixels(replace(MEADOW, seed=seed, ground="snow"))
    sunset = pixels(replace(MEADOW, seed=seed, time="sunset"))

    assert night[sky].mean() < day[sky].mean() - 60
    assert snow[ground].mean() > day[ground].mean() + 60
    assert (sunset - day)[sky, :, 0].mean() > (sunset - day)[sky, :, 2].mean() + 60


def test_every_scene_can_be_drawn_and_described() -> None:
    rng = random.Random(1)
    for _ in range(60):
        scene = compose(rng)
        assert draw(scene, 64, 64).mode == "RGB"
        assert caption(scene, rng) is not None


def test_both_languages_know_the_same_things() -> None:
    assert ENGLISH.keys() == CHINESE.keys()
    assert set(STYLES) <= ENGLISH.keys()


def test_a_caption_names_nothing_that_is_not_there() -> None:
    rng = random.Random(2)
    for _ in range(200):
        said = caption(MEADOW, rng)
        assert not any(word in said for word in ("night", "snow", "boat", "夜", "雪", "船"))
