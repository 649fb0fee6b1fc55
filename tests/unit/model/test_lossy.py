"""What changes the picture changes it as it says: by rounding to 8 bits, or by what an earlier step left."""

# pyright: reportPrivateUsage=false
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.bench.device.painting import apart
from tests.unit.engine.jobs import job, picture
from worker.engine.runner import TorchRunner
from worker.engine.state import DenoiseState
from worker.model.checkpoint import Checkpoint, Wanted, open_checkpoint
from worker.model.denoiser import Denoiser
from worker.model.device import Processor
from worker.model.lossy import Float8Linear
from worker.model.prompt import TOKENS, Prompt
from worker.model.tuning import Tuning, tuned_for

BFLOAT16 = 2**-8
"""Half a step of its last bit."""


def dice(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(rows: int, columns: int, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(columns, rows, bias=bias).requires_grad_(False)
    for parameter in layer.parameters():
        parameter.uniform_(-0.125, 0.125, generator=dice(5))
    return layer


def in_eight_bits(rows: Tensor) -> Tensor:
    """Each row's largest number becomes 448; three bits of each number's mantissa are left, by plain arithmetic."""
    scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / 448
    mantissa, exponent = torch.frexp(rows / scale)
    coarse = torch.maximum(exponent, torch.tensor(-5))  # below that the format has no smaller exponents
    return torch.ldexp((torch.ldexp(mantissa, exponent - coarse) * 16).round() / 16, coarse) * scale


@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 5, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_the_product_of_its_rounded_numbers(shape: tuple[int, ...], bias: bool) -> None:
    exact = linear(48, 64, bias=bias)
    x = torch.randn(shape, generator=dice()) * torch.logspace(-3, 3, shape[-2]).unsqueeze(-1)
    wanted = (in_eight_bits(x.flatten(0, -2)) @ in_eight_bits(exact.weight).T).view(*shape[:-1], -1)
    said, added = Float8Linear(exact)(x), exact.bias if bias else torch.zeros(48)
    torch.testing.assert_close(said - added, wanted, rtol=BFLOAT16, atol=1e-6)
    for row, exact_row in zip(wanted.flatten(0, -2), (exact(x) - added).flatten(0, -2), strict=True):
        assert 0.005 < apart(row, exact_row) < 0.1, "three bits of mantissa"


def test_rows_of_nothing_and_of_large_numbers_stay_numbers() -> None:
    x = torch.stack([torch.zeros(32), torch.full((32,), 1e4), torch.full((32,), 1e-7)]).half()
    said = Float8Linear(linear(16, 32).half())(x)
    assert said.dtype is torch.float16
    assert bool(torch.isfinite(said).all())
    torch.testing.assert_close(said[0], linear(16, 32).half().bias)


def test_a_row_comes_out_the_same_in_any_company() -> None:
    layer = Float8Linear(linear(32, 64))
    x = torch.randn((9, 64), generator=dice())
    assert torch.equal(layer(x)[4:5], layer(x[4:5]))


def names_of_rounded(unet: Any) -> set[str]:
    rounded = (name for name, it in unet.named_modules() if isinstance(it, Float8Linear))
    return {re.sub(r".*(attentions|transformer_blocks)\.\d+\.", "", name) for name in rounded}


def test_what_a_step_calls_is_rounded_and_what_prompts_need_is_not(checkpoint: Checkpoint) -> None:
    each = {"proj_in", "proj_out", "ff.net.0.proj", "ff.net.2", "attn1.to_out.0", "attn2.to_out.0", "attn2.to_q"}
    plain: Any = Denoiser(checkpoint.unet, Processor(), Tuning(lossy_fp8=True))._plain
    assert names_of_rounded(plain) == each | {"attn1.to_q", "attn1.to_k", "attn1.to_v"}
    fused: Any = Denoiser(checkpoint.unet, Processor(), Tuning(lossy_fp8=True, fused_qkv=True))._plain
    assert names_of_rounded(fused) == each | {"attn1.to_qkv"}
    assert not names_of_rounded(checkpoint.unet), "the checkpoint's own stays what it was"


@pytest.mark.parametrize(
    "tuning", [Tuning(), tuned_for(torch.device("cuda"), compile="off")], ids=["plain", "as on a GPU"]
)
def test_the_outermost_level_given_what_lies_beneath_is_the_whole(checkpoint: Checkpoint, tuning: Tuning) -> None:
    """At sizes whose halves are odd, too."""
    denoiser = Denoiser(checkpoint.unet, Processor(), replace(tuning, lossy_step_cache=2))
    exact = Denoiser(checkpoint.unet, Processor(), tuning)
    for cells in ((8, 8), (13, 18)):
        latents = torch.randn((3, 4, *cells), generator=dice())
        told = torch.linspace(900, 20, 3)
        said = [Prompt(torch.randn((1, TOKENS, 32), generator=dice(k)), torch.randn((1, 32))) for k in range(3)]
        for _ in ("by itself", "recorded"):
            with torch.inference_mode():
                heard = [denoiser.hear(prompt) for prompt in said]
                whole = denoiser(latents, told, heard)
                assert whole.deep is not None
                again = denoiser(latents, told, heard, deep=whole.deep.clone())
                alone = exact(latents, told, [exact.hear(prompt) for prompt in said])
            assert alone.deep is None
            torch.testing.assert_close(again.noise, whole.noise, atol=2e-6, rtol=0)
            torch.testing.assert_close(whole.noise, alone.noise, atol=2e-5, rtol=2e-5)
            denoiser.settle()
    denoiser.close()


REQUESTS: list[dict[str, Any]] = [
    {"prompt": "a cat", "steps": 7, "seed": 1},
    {"prompt": "a dog", "negative_prompt": "blurry", "steps": 9, "strength": 0.5, "images": 3},
    {"prompt": "a cat", "steps": 5, "guidance_scale": 1.0, "images": 2},
    {"prompt": "", "steps": 4, "guidance_scale": 9.0, "solver": "UniPCMultistepScheduler"},
]


def begun(runner: TorchRunner, changes: dict[str, Any]) -> DenoiseState:
    one = job(image=picture(64, 64), **changes)
    return runner.prepare(one, runner.key(64, 64, precise=False))


def moved(runner: TorchRunner, states: list[DenoiseState], slots: int) -> None:
    runner.advance(states, runner.predict(states, slots=slots))


def painted(runner: TorchRunner, changes: dict[str, Any]) -> Tensor:
    state = begun(runner, changes)
    while state.step < state.steps:
        moved(runner, [state], 64)
    return state.latents


@pytest.mark.parametrize("slots", [2, 64])
def test_a_step_cache_is_each_requests_own(checkpoint: Checkpoint, slots: int) -> None:
    """They join one after the other, so that some run the whole UNet while others do not, and with fewer slots than
    pictures calls are cut."""
    runner = TorchRunner(checkpoint, tuning=Tuning(lossy_step_cache=2))
    wanted = [painted(runner, changes) for changes in REQUESTS]
    coming, here = list(enumerate(REQUESTS)), list[tuple[int, DenoiseState]]()
    while coming or here:
        if coming:
            place, changes = coming.pop(0)
            here.append((place, begun(runner, changes)))
        moved(runner, [state for _, state in here], slots)
        for place, state in here:
            if state.step == state.steps:
                torch.testing.assert_close(state.latents, wanted[place], atol=1e-4, rtol=1e-4)
        here = [(place, state) for place, state in here if state.step < state.steps]


@pytest.mark.parametrize(("each", "whole"), [(1, 7), (2, 4), (3, 3), (10, 1)])
def test_so_many_steps_run_the_whole(checkpoint: Checkpoint, each: int, whole: int) -> None:
    runner = TorchRunner(checkpoint, tuning=Tuning(lossy_step_cache=each))
    unet: Any = runner._models["float32"].denoiser._plain
    calls: list[int] = []
    unet.mid_block.register_forward_pre_hook(lambda _module, _inputs: calls.append(1))  # pyright: ignore
    painted(runner, {"steps": 7, "strength": 1.0})
    assert len(calls) == whole


@pytest.mark.parametrize("tuning", [Tuning(lossy_fp8=True), Tuning(lossy_step_cache=2)], ids=["fp8", "step cache"])
def test_the_picture_is_another_but_not_far(checkpoint: Checkpoint, tuning: Tuning) -> None:
    exact, other = (painted(TorchRunner(checkpoint, tuning=it), REQUESTS[0]) for it in (tuning.exact, tuning))
    assert 1e-4 < apart(other, exact) < 0.3


def test_a_second_try_is_exact(models: Path) -> None:
    tuning = Tuning(lossy_fp8=True, lossy_step_cache=3)
    assert tuning.exact == Tuning()
    assert (tuning.lossy, tuning.exact.lossy) == ("fp8, step cache 3", "")
    half = open_checkpoint(Wanted(source="random", cache=models, device="cpu", dtype="bfloat16"))
    runner = TorchRunner(half, tuning=tuning)
    state = runner.prepare(job(), runner.key(64, 64, precise=True))
    moved(runner, [state], 8)
    assert len(state.deep) == 0
    assert runner._models["float32"].denoiser.tuning == Tuning()


def test_measured_caps_are_of_one_way(checkpoint: Checkpoint) -> None:
    exact, other = (TorchRunner(checkpoint, tuning=it).made_for for it in (Tuning(), Tuning(lossy_step_cache=2)))
    assert exact != other
