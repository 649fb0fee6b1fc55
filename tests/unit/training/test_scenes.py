"""What the demonstration model learns from: pictures and sentences that agree with each other."""

import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.drawing import draw
from training.scenes import CHINESE, ENGLISH, STYLES, Scene, caption, compose, differences, sibling

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


def test_a_sibling_is_the_same_place_in_another_light_or_season() -> None:
    rng = random.Random(3)
    for _ in range(60):
        scene = compose(rng)
        other = sibling(scene, rng)
        assert differences(scene, other) <= {"time", "ground", "weather", "house"}
        assert 1 <= len(differences(scene, other)) <= 2
        assert other.seed == scene.seed
    assert differences(MEADOW, MEADOW) == frozenset()


@pytest.mark.parametrize("changes", [{"time": "night"}, {"ground": "snow"}, {"house": "blue"}])
def test_everything_stays_where_it_stood(changes: dict[str, str]) -> None:
    """Edges, not colours: the mountains' line, the trees and the house."""
    here, there, elsewhere = (
        np.hypot(*np.gradient(pixels(scene).mean(2))).ravel()
        for scene in (MEADOW, replace(MEADOW, **changes), replace(MEADOW, seed=8))
    )
    assert np.corrcoef(here, there)[0, 1] > 0.4
    assert np.corrcoef(here, elsewhere)[0, 1] < 0.2


def test_an_edit_is_told_by_what_is_different() -> None:
    rng = random.Random(4)
    winter = replace(MEADOW, ground="snow")
    said = [caption(winter, rng, frozenset({"ground"})) for _ in range(200)]
    words = (*ENGLISH["snow"], *CHINESE["snow"])
    assert all(any(word in text for word in words) for text in said)
    assert sum("," not in text and "，" not in text for text in said) > 50, "half of them say nothing else"


def test_what_is_unusual_is_hardly_ever_left_out() -> None:
    rng = random.Random(5)
    night = replace(MEADOW, time="night")
    words = (*ENGLISH["night"], *CHINESE["night"])
    said = [caption(night, rng) for _ in range(300)]
    assert 270 <= sum(any(word in text for word in words) for text in said) < 300
    day = (*ENGLISH["day"], *CHINESE["day"])
    said = [caption(MEADOW, rng) for _ in range(300)]
    assert sum(any(word in text for word in day) for text in said) < 200
