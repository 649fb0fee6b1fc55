"""The training as a whole, a few steps of it: it goes on where it was stopped, makes a checkpoint, mixes up nothing."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch

from tests.unit.engine.jobs import job, unheard
from training import denoiser, scenes
from training.__main__ import main
from training.kept import AnotherTraining
from training.run import Place, Plan
from training.scenes import close_up
from training.train import Recipe, train
from worker.engine.engine import Engine
from worker.engine.runner import TorchRunner
from worker.model.checkpoint import Wanted, open_checkpoint

CPU = torch.device("cpu")
SHORT = Plan(steps=3, learning_rate=1e-3, warm_up=2)
RECIPE = Recipe(
    first=SHORT,
    second=SHORT,
    further=replace(SHORT, steps=2),
    kinds=(
        denoiser.Kind("far", 64, 64, count=20, batch=2, share=0.5),
        denoiser.Kind("near", 64, 64, count=10, batch=2, share=0.5, composed=close_up),
    ),
)


def folder(parent: Path) -> Path:
    parent.mkdir()
    return parent


def endless(work: Path) -> Place:
    return Place(work, CPU, lambda: False)


def stopping(work: Path, after: int) -> Place:
    """Its time is over after so many questions whether it is."""
    asked = count()
    return Place(work, CPU, lambda: next(asked) >= after)


def files(checkpoint: Path) -> dict[str, bytes]:
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose training is finished, with the checkpoint in `out`."""
    torch.set_num_threads(1)  # by the number of threads sums are rounded otherwise
    work = tmp_path_factory.mktemp("trained")
    assert train(endless(work), work / "out", recipe=RECIPE)
    return work


def test_a_training_that_is_stopped_all_the_time_ends_with_the_same_weights(trained: Path, tmp_path: Path) -> None:
    work, stops = folder(tmp_path / "work"), 0
    while not train(stopping(work, after=2), work / "out", recipe=RECIPE):
        stops += 1
        assert stops < 10
    assert stops >= 3, "it was stopped in both steps and while it drew"
    assert files(work / "out") == files(trained / "out")


def test_what_it_makes_is_a_checkpoint_that_the_product_paints_with(trained: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(Wanted(source=str(trained / "out"), cache=tmp_path, device="cpu", offline=True))
    engine = Engine(TorchRunner(checkpoint))
    engine.start()
    try:
        assert engine.submit(job(steps=2, prompt="night"), unheard).result(60).pictures[0].size == (64, 64)
    finally:
        engine.close(wait=False)


def test_a_finished_training_changes_nothing_when_it_is_started_again(trained: Path, tmp_path: Path) -> None:
    before = (trained / "denoiser.pt").read_bytes()
    assert train(endless(trained), tmp_path / "out", recipe=RECIPE)
    assert (trained / "denoiser.pt").read_bytes() == before
    assert files(tmp_path / "out") == files(trained / "out")


def test_a_checkpoint_is_trained_further(trained: Path, tmp_path: Path) -> None:
    work = folder(tmp_path / "work")
    assert train(endless(work), work / "out", trained / "out", RECIPE)
    before, after = files(trained / "out"), files(work / "out")
    changed = {name for name in before if name.endswith(".safetensors") and before[name] != after[name]}
    assert changed == {"unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}


def test_the_state_of_another_start_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(AnotherTraining, match=r"denoiser\.pt is of another training"):
        train(endless(trained), tmp_path / "out", trained / "out", RECIPE)
    assert not (tmp_path / "out").exists()


def test_the_state_of_another_plan_is_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(AnotherTraining, match=r"denoiser\.pt"):
        train(endless(trained), tmp_path / "out", recipe=replace(RECIPE, second=replace(SHORT, steps=9)))


def test_pictures_of_another_autoencoder_are_refused(trained: Path, tmp_path: Path) -> None:
    work = folder(tmp_path / "work")
    (work / "pairs-near.pt").write_bytes((trained / "pairs-near.pt").read_bytes())
    with pytest.raises(AnotherTraining, match=r"pairs-near\.pt"):
        train(endless(work), work / "out", trained / "out", RECIPE)


def test_everything_is_refused_when_the_code_of_the_scenes_is_another(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = tmp_path / "scenes.py"
    edited.write_text(Path(str(scenes.__file__)).read_text() + "\n")
    monkeypatch.setattr(scenes, "__file__", str(edited))
    with pytest.raises(AnotherTraining, match=r"autoencoder\.pt"):
        train(endless(trained), tmp_path / "out", recipe=RECIPE)


def test_kinds_of_the_same_size_show_other_places() -> None:
    far, near = ({scene.seed for scene, _ in denoiser.pairs_of(kind)} for kind in RECIPE.kinds)
    assert not far & near


@pytest.mark.parametrize("start", ["nowhere", "."])
def test_a_start_that_is_no_checkpoint_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], start: str) -> None:
    work = tmp_path / "work"
    with pytest.raises(SystemExit):
        main(["--work", str(work), "--start", str(tmp_path / start)])
    assert f"--start {tmp_path / start}: there is no checkpoint" in capsys.readouterr().err
    assert not work.exists()
