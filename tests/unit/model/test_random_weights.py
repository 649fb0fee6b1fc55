"""The random checkpoint is the same everywhere, survives being built twice at once, and answers to every input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.unit.engine.jobs import job, picture
from worker.engine.runner import TorchRunner
from worker.model import random_weights as module
from worker.model.checkpoint import Checkpoint
from worker.model.solver import NAMES


def files(directory: Path) -> dict[str, bytes]:
    return {str(file.relative_to(directory)): file.read_bytes() for file in directory.rglob("*") if file.is_file()}


def test_it_is_built_once_and_equal_everywhere(tiny: Path, models: Path, tmp_path: Path) -> None:
    assert module.random_checkpoint(models) == tiny
    elsewhere = module.random_checkpoint(tmp_path / "not" / "there" / "yet")
    assert elsewhere.name == tiny.name
    assert files(elsewhere) == files(tiny)
    assert sum(map(len, files(tiny).values())) < 4_000_000


def test_who_loses_the_race_takes_the_winners(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build, winners = module.build, list[Path]()

    def build_late(directory: Path) -> None:
        build(directory)
        if not winners:
            winners.append(directory)
            winners.append(module.random_checkpoint(tmp_path))

    monkeypatch.setattr(module, "build", build_late)
    loser = module.random_checkpoint(tmp_path)
    assert loser == winners[1]
    assert [place.name for place in tmp_path.iterdir()] == [loser.name]
    assert files(loser) == files(tiny)


def test_a_build_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(directory: Path) -> None:
        (directory / "half").write_text("written")
        raise OSError("disk full")

    monkeypatch.setattr(module, "build", fail)
    with pytest.raises(OSError, match="disk full"):
        module.random_checkpoint(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def runner(checkpoint: Checkpoint) -> TorchRunner:
    return TorchRunner(checkpoint)


def paint(runner: TorchRunner, **changes: Any) -> "np.ndarray[Any, Any]":
    one = job(**{"image": picture(64, 64), "steps": 5, "check_safety": False, **changes})
    state = runner.prepare(one, runner.key(64, 64, precise=False))
    while state.step < state.steps:
        runner.advance([state], runner.predict([state], slots=64))
    return np.asarray(runner.decode(state, job=one).pictures[0], dtype=np.int16)


def through_blocks(image: Image.Image) -> "np.ndarray[Any, Any]":
    """What the autoencoder should make of a picture: the mean of each 8×8 block."""
    levels = np.asarray(image, dtype=np.float64)
    means = levels.reshape(8, 8, 8, 8, 3).mean(axis=(1, 3))
    return means.repeat(8, axis=0).repeat(8, axis=1)


@pytest.mark.parametrize("seed", [0, 1])
def test_hardly_any_strength_leaves_the_picture(runner: TorchRunner, seed: int) -> None:
    image = picture(64, 64, seed)
    kept = paint(runner, image=image, strength=0.01, steps=50)
    # The least step that there is still begins with noise of about five grey levels.
    assert np.abs(kept - through_blocks(image)).mean() < 8
    other = through_blocks(picture(64, 64, seed + 1))
    assert np.abs(kept - other).mean() > 20


CHANGES: list[dict[str, Any]] = [
    {"prompt": "a cat on the river"},
    {"prompt": ""},
    {"negative_prompt": "blurry"},
    {"guidance_scale": 6.5},
    {"guidance_scale": 1.0},
    {"seed": 1235},
    {"image": picture(64, 64, seed=5)},
    {"strength": 0.5},
    {"steps": 9},
    *({"solver": name} for name in NAMES[1:]),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: "-".join(map(str, change)))
def test_every_input_shows_in_the_picture(runner: TorchRunner, change: dict[str, Any]) -> None:
    assert np.abs(paint(runner, **change) - paint(runner)).mean() > 1
