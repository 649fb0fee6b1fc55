"""What is wrong with a checkpoint is said at the start, with the name of the variable to change."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from shared.errors import WrongSetting
from worker.model import checkpoint as module
from worker.model.checkpoint import Checkpoint, Wanted, open_checkpoint


def refused(wanted: Wanted) -> WrongSetting:
    with pytest.raises(WrongSetting) as caught:
        open_checkpoint(wanted)
    return caught.value


def test_tiny_is_whole_and_on_the_processor_in_float32(checkpoint: Checkpoint) -> None:
    assert checkpoint.dtype is torch.float32
    assert checkpoint.unet.dtype is torch.float32
    assert checkpoint.vae.dtype is torch.float32
    assert checkpoint.text_encoder.dtype is torch.float32
    assert checkpoint.safety is not None


def test_a_directory_is_loaded_in_the_precision_that_was_asked_for(tiny: Path, tmp_path: Path) -> None:
    half = open_checkpoint(
        Wanted(source=str(tiny), cache=tmp_path, device="cpu", dtype="float16", safety_checker="off")
    )
    assert (half.unet.dtype, half.text_encoder.dtype) == (torch.float16, torch.float16)
    assert half.vae.dtype is torch.float32, "the autoencoder overflows in float16"
    assert half.safety is None
    assert half.schedule["num_train_timesteps"] == 1100


@pytest.mark.parametrize("source", ["/not/there", "./neither", "nonsense", "a/b/c"])
def test_no_such_directory(source: str, tmp_path: Path) -> None:
    error = refused(Wanted(source=source, cache=tmp_path, device="cpu"))
    assert error.name == "KOLORS_MODEL"
    assert source in error.message


def test_offline_and_never_downloaded(tmp_path: Path) -> None:
    error = refused(Wanted(source="Kwai-Kolors/Kolors-diffusers", cache=tmp_path, device="cpu", offline=True))
    assert error.name == "KOLORS_MODEL"
    assert "offline" in error.message


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(tiny: Path, tmp_path: Path, part: str) -> None:
    broken = Path(shutil.copytree(tiny, tmp_path / "broken"))
    shutil.rmtree(broken / part)
    error = refused(Wanted(source=str(broken), cache=tmp_path, device="cpu"))
    assert error.name == "KOLORS_MODEL"
    assert f"{part}/ is missing" in error.message


def test_weights_cut_short_are_refused(tiny: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny, tmp_path / "broken"))
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    error = refused(Wanted(source=str(broken), cache=tmp_path, device="cpu"))
    assert error.name == "KOLORS_MODEL"
    assert "cannot be loaded" in error.message


def test_a_header_of_nonsense_is_refused(tiny: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny, tmp_path / "broken"))
    (broken / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"this is no safetensors file" * 10)
    assert refused(Wanted(source=str(broken), cache=tmp_path, device="cpu")).name == "KOLORS_MODEL"


def test_too_little_memory_is_said_before_loading(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_available_bytes", lambda: 1_000)
    error = refused(Wanted(source=str(tiny), cache=tmp_path, device="cpu"))
    assert error.name == "KOLORS_MODEL"
    assert "GiB" in error.message


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there(device: str, tmp_path: Path) -> None:
    assert refused(Wanted(source="tiny", cache=tmp_path, device=device)).name == "DEVICE"


def test_an_unknown_precision(tmp_path: Path) -> None:
    assert refused(Wanted(source="tiny", cache=tmp_path, device="cpu", dtype="int8")).name == "DTYPE"


def test_a_safety_checker_that_knows_no_nsfw(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "checker").mkdir()
    (tmp_path / "checker" / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))
    wanted = Wanted(source=str(tiny), cache=tmp_path, device="cpu", safety_checker=str(tmp_path / "checker"))
    assert refused(wanted).name == "SAFETY_CHECKER"
