"""Whatever is broken in a checkpoint is said at the start: which setting names it, and which part or file it is."""

# pyright: reportUnknownVariableType=false
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from shared.errors import DeviceLost, OutOfMemory, WrongSetting
from worker.model import architecture
from worker.model.checkpoint import Wanted, open_checkpoint
from worker.model.libraries import UNet2DConditionModel
from worker.model.prompt import PromptEncoder
from worker.model.solver import NAMES, Solvers

Break = Callable[[Path], object]
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"
TEXT_ENCODER = "text_encoder/model.safetensors"


@pytest.fixture
def broken(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "broken"))


def wanted(source: Path, **options: Any) -> Wanted:
    return Wanted(source=str(source), cache=source.parent, device="cpu", **options)


def holding(file: str, content: bytes) -> Break:
    return lambda directory: (directory / file).write_bytes(content)


def cut(file: str) -> Break:
    return lambda directory: (directory / file).write_bytes((directory / file).read_bytes()[:-1000])


def with_values(file: str, **values: object) -> Break:
    def change(directory: Path) -> None:
        known = json.loads((directory / file).read_text())
        (directory / file).write_text(json.dumps({**known, **values}))

    return change


def without_value(file: str, name: str) -> Break:
    def change(directory: Path) -> None:
        known = json.loads((directory / file).read_text())
        del known[name]
        (directory / file).write_text(json.dumps(known))

    return change


def without_tensor(file: str, name: str) -> Break:
    def change(directory: Path) -> None:
        tensors = load_file(directory / file)
        del tensors[name]
        save_file(tensors, directory / file, metadata={"format": "pt"})

    return change


def both(first: Break, second: Break) -> Break:
    return lambda directory: (first(directory), second(directory))


def renamed(file: str, names: Callable[[str], str]) -> Break:
    def change(directory: Path) -> None:
        tensors = {names(name): tensor for name, tensor in load_file(directory / file).items()}
        save_file(tensors, directory / file, metadata={"format": "pt"})

    return change


def with_tensor(file: str, name: str) -> Break:
    def change(directory: Path) -> None:
        tensors = {**load_file(directory / file), name: torch.ones(3)}
        save_file(tensors, directory / file, metadata={"format": "pt"})

    return change


def in_shards(directory: Path, *, variant: str = "", lost: str | None = None) -> None:
    """The text encoder in two files and a list, one tensor of which is in none of them."""
    whole, infix = directory / TEXT_ENCODER, f".{variant}" if variant else ""
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    files = {name: f"model{infix}-0000{1 + index % 2}-of-00002.safetensors" for index, name in enumerate(names)}
    for file in set(files.values()):
        share = {name: tensors[name] for name in names if files[name] == file and name != lost}
        save_file(share, whole.with_name(file), metadata={"format": "pt"})
    whole.with_name(f"model.safetensors.index{infix}.json").write_text(
        json.dumps({"metadata": {}, "weight_map": files})
    )


ENTRY = "encoder.layers.0.mlp.dense_h_to_4h.weight"
NORM = "encoder.layers.1.post_attention_layernorm.weight"
BIAS = "up_blocks.0.attentions.0.transformer_blocks.0.ff.net.2.bias"
SCHEDULE = "scheduler/scheduler_config.json"
INDEX = "text_encoder/model.safetensors.index.json"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(without_tensor(TEXT_ENCODER, ENTRY), f"text_encoder: {ENTRY} is missing", id="a layer"),
        pytest.param(without_tensor(TEXT_ENCODER, NORM), f"text_encoder: {NORM} is missing", id="a norm"),
        pytest.param(without_tensor(UNET, BIAS), f"unet: {BIAS} is missing", id="in the unet"),
        pytest.param(without_tensor(VAE, "decoder.conv_in.bias"), "vae: decoder.conv_in.bias is missing", id="vae"),
        pytest.param(partial(in_shards, lost=ENTRY), f"text_encoder: {ENTRY} is missing", id="in shards"),
        pytest.param(cut(TEXT_ENCODER), "text_encoder: model.safetensors", id="text encoder cut short"),
        pytest.param(cut(UNET), "unet: diffusion_pytorch_model.safetensors", id="unet cut short"),
        pytest.param(
            holding(UNET, b"\2\0\0\0\0\0\0\0[]"), "unet: diffusion_pytorch_model.safetensors", id="a list for a header"
        ),
        pytest.param(holding(VAE, b""), "vae: diffusion_pytorch_model.safetensors", id="an empty file of weights"),
        pytest.param(
            both(in_shards, holding(INDEX, b"{}")),
            "text_encoder: model.safetensors.index.json has no weight_map",
            id="an empty list of shards",
        ),
        pytest.param(
            with_values("text_encoder/config.json", hidden_size=48),
            "text_encoder: embedding.word_embeddings.weight is (512, 32)",
            id="another width of the text encoder",
        ),
        pytest.param(with_values("unet/config.json", cross_attention_dim=17), "unet: ", id="another width of the unet"),
        pytest.param(with_values("unet/config.json", block_out_channels="wide"), "unet: ", id="nonsense in the unet's"),
        pytest.param(holding("unet/config.json", b"[]"), "unet: config.json is no JSON object", id="unet's a list"),
        pytest.param(holding("unet/config.json", b"{"), "unet: config.json is no JSON object", id="unet's no JSON"),
        pytest.param(holding("vae/config.json", b"\xff"), "vae: config.json is no JSON object", id="vae's no text"),
        pytest.param(holding("tokenizer/tokenizer.model", b"garbage"), "tokenizer: ", id="a garbage tokenizer"),
        pytest.param(holding("tokenizer/tokenizer.model", b""), "tokenizer: ", id="an empty tokenizer"),
        pytest.param(holding("tokenizer/tokenizer_config.json", b"[]"), "tokenizer: ", id="tokenizer's a list"),
        pytest.param(holding(SCHEDULE, b"[]"), "scheduler: scheduler_config.json is no JSON object", id="its a list"),
        pytest.param(holding(SCHEDULE, b"{}"), "scheduler: num_train_timesteps is missing", id="its empty"),
        pytest.param(without_value(SCHEDULE, "beta_end"), "scheduler: beta_end is missing", id="no last beta"),
        pytest.param(with_values(SCHEDULE, beta_schedule="steep"), "scheduler: steep is not implemented", id="betas"),
        pytest.param(with_values(SCHEDULE, timestep_spacing="odd"), "scheduler: odd is not supported", id="spacing"),
        pytest.param(
            with_values(SCHEDULE, prediction_type="v_prediction"),
            "scheduler: prediction_type is v_prediction, and this product paints with epsilon",
            id="another prediction",
        ),
        pytest.param(with_values(SCHEDULE, solver_order=3), "scheduler: solver_order is 3", id="the third order"),
        pytest.param(with_values(SCHEDULE, solver_order=1), "scheduler: solver_order is 1", id="the first order"),
        pytest.param(with_values(SCHEDULE, thresholding=True), "scheduler: thresholding is True", id="thresholding"),
        pytest.param(
            with_values(SCHEDULE, algorithm_type="sde-dpmsolver++"),
            "scheduler: algorithm_type is sde-dpmsolver++",
            id="noise where none is expected",
        ),
    ],
)
def test_what_is_broken_is_named(broken: Path, damage: Break, said: str) -> None:
    damage(broken)
    with pytest.raises(WrongSetting) as caught:
        open_checkpoint(wanted(broken))
    part, _, problem = said.partition(": ")
    assert caught.value.message.startswith(f"KOLORS_MODEL: the {part} of {broken} cannot be loaded: {problem}")
    assert "huggingface.co" not in caught.value.message


@pytest.mark.parametrize("half", ["model.safetensors", "in shards"])
def test_the_copy_that_is_loaded_is_the_one_that_is_checked(broken: Path, half: str) -> None:
    for file in (UNET, VAE, TEXT_ENCODER):
        shutil.copy(broken / file, (broken / file).with_suffix(".fp16.safetensors"))
    if half == "in shards":
        (broken / TEXT_ENCODER).with_suffix(".fp16.safetensors").unlink()
        kept = shutil.copy(broken / TEXT_ENCODER, broken / "kept")
        in_shards(broken, variant="fp16")
        shutil.move(kept, broken / TEXT_ENCODER)
    without_tensor(TEXT_ENCODER, ENTRY)(broken)
    assert open_checkpoint(wanted(broken, dtype="float16")).text_encoder.dtype is torch.float16
    with pytest.raises(WrongSetting, match=f"cannot be loaded: {ENTRY} is missing"):
        open_checkpoint(wanted(broken))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(cut("safety_checker/model.safetensors"), "Error while deserializing", id="cut short"),
        pytest.param(
            without_tensor("safety_checker/model.safetensors", "visual_projection.weight"),
            "visual_projection.weight is missing",
            id="a tensor lost",
        ),
    ],
)
def test_a_broken_safety_checker_is_named(broken: Path, damage: Break, said: str) -> None:
    damage(broken)
    with pytest.raises(WrongSetting) as caught:
        open_checkpoint(wanted(broken))
    assert caught.value.message.startswith(f"SAFETY_CHECKER: auto cannot be loaded: {said}")


@pytest.mark.parametrize(
    ("raised", "fault"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemory),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), OutOfMemory),
        (RuntimeError("CUDA error: unspecified launch failure"), DeviceLost),
        (MemoryError(), OutOfMemory),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
def test_what_the_checkpoint_is_not_to_blame_for_is_no_wrong_setting(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, fault: type[BaseException]
) -> None:
    def planted(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", planted)
    with pytest.raises(fault):
        open_checkpoint(wanted(tiny))


def test_an_autoencoder_with_the_attentions_older_names_is_loaded(broken: Path) -> None:
    newer = architecture.autoencoder(widths=(8, 8, 8, 8), layers=1, norm_groups=1, side=1024)
    newer.save_pretrained(broken / "vae")
    older = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    for new, old in older.items():
        renamed(VAE, lambda name, new=new, old=old: name.replace(new, old))(broken)
    assert any(".query." in name for name in load_file(broken / VAE))
    loaded: Any = open_checkpoint(wanted(broken, safety_checker="off")).vae
    for name, weight in newer.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(without_tensor(TEXT_ENCODER, "rotary_pos_emb.inv_freq"), id="without what can be computed"),
        pytest.param(without_tensor(TEXT_ENCODER, "output_layer.weight"), id="without what is not loaded"),
        pytest.param(with_tensor(TEXT_ENCODER, "something.more"), id="with a tensor more"),
        pytest.param(renamed(TEXT_ENCODER, lambda name: f"transformer.{name}"), id="cut out of a larger model"),
        pytest.param(in_shards, id="in shards"),
    ],
)
def test_what_differs_without_harm_is_loaded(tiny: Path, broken: Path, change: Break) -> None:
    change(broken)
    said: list[torch.Tensor] = []
    for directory in (tiny, broken):
        checkpoint = open_checkpoint(wanted(directory, safety_checker="off"))
        encoder = PromptEncoder(checkpoint.tokenizer, checkpoint.text_encoder, device=checkpoint.device)
        said.append(encoder.encode("a cat").embeds)
    assert torch.equal(*said)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("values", [{}, {"solver_order": 2, "thresholding": False, "algorithm_type": "dpmsolver++"}])
def test_a_schedule_in_other_words_is_loaded(broken: Path, name: str, values: dict[str, object]) -> None:
    with_values(SCHEDULE, **values)(broken)
    schedule = open_checkpoint(wanted(broken, safety_checker="off")).schedule
    assert Solvers(schedule).open(name, steps=4, strength=1.0).steps == 4
