"""What is wrong with a checkpoint is said at the start, with the name of the variable to change."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from shared.errors import WrongSetting
from worker.model import inventory
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


def test_an_autoencoder_whose_weights_were_mended_may_be_in_float16(tiny: Path, tmp_path: Path) -> None:
    mended = Path(shutil.copytree(tiny, tmp_path / "mended"))
    config = mended / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "force_upcast": False}))
    wanted = Wanted(source=str(mended), cache=tmp_path, device="cpu", dtype="float16", safety_checker="off")
    assert open_checkpoint(wanted).vae.dtype is torch.float16


def test_the_layer_that_nobody_asks_is_not_loaded(checkpoint: Checkpoint) -> None:
    encoder: Any = checkpoint.text_encoder
    assert not hasattr(encoder, "output_layer")
    assert not any(it.is_meta for it in encoder.parameters())


@pytest.mark.parametrize("source", ["/not/there", "./neither", "nonsense", "a/b/c"])
def test_no_such_directory(source: str, tmp_path: Path) -> None:
    error = refused(Wanted(source=source, cache=tmp_path, device="cpu"))
    assert error.name == "KOLORS_MODEL"
    assert source in error.message


def test_offline_and_never_downloaded(tmp_path: Path) -> None:
    error = refused(Wanted(source="Kwai-Kolors/Kolors-diffusers", cache=tmp_path, device="cpu", offline=True))
    assert error.name == "KOLORS_MODEL"
    assert "offline" in error.message


@pytest.mark.parametrize("source", ["tiny", "."])
def test_only_the_hub_has_revisions(source: str, tmp_path: Path) -> None:
    assert refused(Wanted(source=source, cache=tmp_path, device="cpu", revision="v1")).name == "KOLORS_REVISION"


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(tiny: Path, tmp_path: Path, part: str) -> None:
    broken = Path(shutil.copytree(tiny, tmp_path / "broken"))
    shutil.rmtree(broken / part)
    error = refused(Wanted(source=str(broken), cache=tmp_path, device="cpu"))
    assert error.name == "KOLORS_MODEL"
    assert f"{part}/ is missing" in error.message


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("tokenizer/tokenizer.model", "tokenizer/tokenizer.model"),
        ("scheduler/scheduler_config.json", "scheduler/scheduler_config.json"),
        ("vae/config.json", "vae/config.json"),
        ("unet/diffusion_pytorch_model.safetensors", "unet/*.safetensors"),
    ],
)
def test_a_missing_file_is_named(tiny: Path, tmp_path: Path, file: str, said: str) -> None:
    broken = Path(shutil.copytree(tiny, tmp_path / "broken"))
    (broken / file).unlink()
    error = refused(Wanted(source=str(broken), cache=tmp_path, device="cpu"))
    assert error.message == f"KOLORS_MODEL: {broken} is not a whole Kolors checkpoint: {said} is missing"


def test_a_missing_shard_is_named(tiny: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(tiny, tmp_path / "broken")) / "text_encoder"
    (broken / "model.safetensors").rename(broken / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (broken / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    halves = {"a": "model.fp16-00001-of-00002.safetensors"}
    (broken / "model.safetensors.index.fp16.json").write_text(json.dumps({"weight_map": halves}))
    error = refused(Wanted(source=str(broken.parent), cache=tmp_path, device="cpu"))
    assert error.message.endswith("cannot be loaded: model-00002-of-00002.safetensors is missing")


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
    monkeypatch.setattr(inventory, "_available_bytes", lambda: 1_000)
    unreadable = Path(shutil.copytree(tiny, tmp_path / "unreadable"))
    (unreadable / "vae" / "config.json").write_text("loading would fail here")
    error = refused(Wanted(source=str(unreadable), cache=tmp_path, device="cpu"))
    assert error.name == "KOLORS_MODEL"
    assert "GiB on cpu for its weights in float32; 0.00 GiB are free" in error.message


def test_the_memory_need_is_that_of_the_weights_as_they_are_loaded(tiny: Path, checkpoint: Checkpoint) -> None:
    dtypes = {"text_encoder": torch.float16, "unet": torch.float16, "vae": torch.float32}
    models: dict[str, Any] = {name: getattr(checkpoint, name) for name in dtypes}
    loaded = {
        name: sum(it.numel() for it in model.parameters()) * dtypes[name].itemsize for name, model in models.items()
    }
    buffers = sum(it.numel() * 2 for it in models["text_encoder"].buffers())
    need = inventory.weight_bytes({part: inventory.shapes(tiny / part, None) for part in dtypes}, dtypes)
    assert need["unet"] == loaded["unet"]
    assert need["vae"] == loaded["vae"]
    assert loaded["text_encoder"] <= need["text_encoder"] <= loaded["text_encoder"] + buffers


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    assert inventory.container_bytes(tmp_path) == sys.maxsize
    for name, told in (("max", "1000\n"), ("current", "700\n"), ("stat", "anon 300\ninactive_file 250\n")):
        (tmp_path / f"memory.{name}").write_text(told)
    assert inventory.container_bytes(tmp_path) == 550
    (tmp_path / "memory.max").write_text("max\n")
    assert inventory.container_bytes(tmp_path) == sys.maxsize


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", "meta"])
def test_a_device_that_is_not_there(device: str, tmp_path: Path) -> None:
    assert refused(Wanted(source="random", cache=tmp_path, device=device)).name == "DEVICE"


def test_an_unknown_precision(tmp_path: Path) -> None:
    assert refused(Wanted(source="random", cache=tmp_path, device="cpu", dtype="int8")).name == "DTYPE"


def test_a_safety_checker_that_knows_no_nsfw(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "checker").mkdir()
    (tmp_path / "checker" / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))
    wanted = Wanted(source=str(tiny), cache=tmp_path, device="cpu", safety_checker=str(tmp_path / "checker"))
    assert refused(wanted).name == "SAFETY_CHECKER"


@pytest.mark.parametrize("source", ["/no/such/checker", "./checker", "checker"])
def test_a_safety_checker_that_is_not_there_is_named(tiny: Path, tmp_path: Path, source: str) -> None:
    error = refused(Wanted(source=str(tiny), cache=tmp_path, device="cpu", safety_checker=source))
    assert error.name == "SAFETY_CHECKER"
    assert f"{source}: no such directory" in error.message
