"""Each way to be faster alone, and all of them together, change nothing but rounding."""

# pyright: reportPrivateUsage=false
import gc
import logging
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, cast
from weakref import ref

import pytest
import torch
from torch import Tensor

from tests.unit.engine.jobs import job, picture
from worker.engine.runner import TorchRunner
from worker.engine.state import DenoiseState
from worker.model import tuning
from worker.model.attention import PromptOnce, fuse_qkv
from worker.model.checkpoint import Checkpoint
from worker.model.denoiser import Denoiser
from worker.model.device import Processor, Record, Tensors
from worker.model.graphs import Inputs, Seats, Shape
from worker.model.prompt import TOKENS, Prompt
from worker.model.tuning import Tuning, set_flags, tuned_for

EACH = {
    "channels_last": Tuning(channels_last=True),
    "fused_qkv": Tuning(fused_qkv=True),
    "prompt_once": Tuning(prompt_once=True),
    "graphs": Tuning(graphs=True),
    "own steps": Tuning(stock_steps=False),
    "blocks": Tuning(compile="blocks", compile_backend="eager"),
    "whole": Tuning(compile="whole", compile_backend="eager"),
}
ALL = replace(tuned_for(torch.device("cuda")), compile_backend="eager")
TOLERANCE = 2e-5
"""Of a call's noise, which is about one large."""


@pytest.fixture(autouse=True)
def forget_what_was_compiled() -> Generator[None]:
    yield
    torch._dynamo.reset()


def prompts(checkpoint: Checkpoint, count: int) -> list[Prompt]:
    dice = torch.Generator().manual_seed(7)
    return [
        Prompt(torch.randn((1, TOKENS, 32), generator=dice), torch.randn((1, 32), generator=dice)) for _ in range(count)
    ]


def call(denoiser: Denoiser, said: Sequence[Prompt], cells: tuple[int, int] = (8, 8)) -> Tensor:
    latents = torch.randn((len(said), 4, *cells), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        return denoiser(latents, torch.linspace(900, 20, len(said)), [denoiser.hear(prompt) for prompt in said]).noise


@pytest.mark.parametrize("tuning", [*EACH.values(), ALL], ids=[*EACH, "all"])
def test_a_call_says_what_the_stock_model_says(checkpoint: Checkpoint, tuning: Tuning) -> None:
    said = prompts(checkpoint, 3)
    stock = call(Denoiser(checkpoint.unet, Processor(), Tuning()), said)
    denoiser = Denoiser(checkpoint.unet, Processor(), tuning)
    slow = call(denoiser, said)
    denoiser.settle()
    for noise in (slow, call(denoiser, said)):
        torch.testing.assert_close(noise, stock, atol=TOLERANCE, rtol=TOLERANCE)
        assert noise.is_contiguous()
    denoiser.close()


def test_the_stock_model_stays_what_it_was(checkpoint: Checkpoint) -> None:
    """Weights are shared with what is made of them."""
    said = prompts(checkpoint, 2)
    before = call(Denoiser(checkpoint.unet, Processor(), Tuning()), said)
    unet: Any = checkpoint.unet
    tuned: Any = Denoiser(checkpoint.unet, Processor(), Tuning(fused_qkv=True, prompt_once=True))._plain
    assert torch.equal(call(Denoiser(checkpoint.unet, Processor(), Tuning()), said), before)
    ours = {it.data_ptr() for it in tuned.parameters()}
    copied = {name for name, it in unet.named_parameters() if it.data_ptr() not in ours}
    assert copied == {"encoder_hid_proj.weight", "encoder_hid_proj.bias"}, "these it no longer needs"


def alone(runner: TorchRunner, **changes: Any) -> DenoiseState:
    one = job(image=picture(64, 64), **changes)
    state = runner.prepare(one, runner.key(64, 64, precise=False))
    while state.step < state.steps:
        runner.advance([state], runner.predict([state], slots=64))
    return state


REQUESTS: list[dict[str, Any]] = [
    {"prompt": "a cat", "steps": 6, "seed": 1},
    {"prompt": "a dog", "negative_prompt": "blurry", "steps": 9, "strength": 0.5, "images": 2},
    {"prompt": "a cat", "steps": 5, "guidance_scale": 1.0, "solver": "DPMSolverMultistepScheduler_SDE_karras"},
    {"prompt": "", "steps": 4, "guidance_scale": 9.0, "solver": "UniPCMultistepScheduler"},
]


@pytest.mark.parametrize("tuning", [Tuning(prompt_once=True), ALL], ids=["prompt_once", "all"])
def test_whole_pictures_alone_and_in_company_are_the_stock_ones(checkpoint: Checkpoint, tuning: Tuning) -> None:
    """Over all their steps; they join one after the other, so that graphs take over on the way and seats change."""
    runner = TorchRunner(checkpoint, tuning=tuning)
    stock = TorchRunner(checkpoint, tuning=Tuning())
    wanted = [alone(stock, **changes).latents for changes in REQUESTS]
    for changes, latents in zip(REQUESTS, wanted, strict=True):
        torch.testing.assert_close(alone(runner, **changes).latents, latents, atol=1e-4, rtol=1e-4)
    runner.settle()
    coming, here = list(enumerate(REQUESTS)), list[tuple[int, DenoiseState]]()
    while coming or here:
        if coming:
            place, changes = coming.pop(0)
            one = job(image=picture(64, 64), **changes)
            here.append((place, runner.prepare(one, runner.key(64, 64, precise=False))))
        states = [state for _, state in here]
        runner.advance(states, runner.predict(states, slots=64))
        runner.settle()
        for place, state in here:
            if state.step == state.steps:
                torch.testing.assert_close(state.latents, wanted[place], atol=1e-4, rtol=1e-4)
        here = [(place, state) for place, state in here if state.step < state.steps]
    runner.close()


def test_a_prompts_keys_and_values_are_those_of_each_attention(checkpoint: Checkpoint) -> None:
    unet: Any = checkpoint.unet
    (said,) = prompts(checkpoint, 1)
    model: Any = Denoiser(checkpoint.unet, Processor(), Tuning())._plain
    once = PromptOnce(model)
    with torch.inference_mode():
        projected = unet.encoder_hid_proj(said.embeds)
        blocks = [it for it in unet.modules() if type(it).__name__ == "BasicTransformerBlock"]
        each = [layer(projected) for it in blocks for layer in (it.attn2.to_k, it.attn2.to_v)]
        torch.testing.assert_close(once(said.embeds), torch.cat(each, dim=-1))
    assert once.width == sum(it.shape[-1] for it in each)


def test_prompts_in_use_are_made_ready_once_and_forgotten_with_their_last_request(checkpoint: Checkpoint) -> None:
    denoiser = Denoiser(checkpoint.unet, Processor(), Tuning(prompt_once=True))
    first, second = prompts(checkpoint, 2)
    with torch.inference_mode():
        like, heard = denoiser.hear(first), denoiser.hear(second)
        assert denoiser.hear(second) is heard
        assert denoiser.hear(first) is like
        del heard
        assert second not in {key for key, known in denoiser._heard.items() if known() is not None}
        assert denoiser.hear(second).embeds.shape == like.embeds.shape


def test_blocks_are_compiled_once_for_each_kind_and_not_for_each_size(checkpoint: Checkpoint) -> None:
    """Squares first: their sides are not taken for one number."""
    compiled: list[int] = []

    def counting(graph: Any, _: object) -> Any:
        compiled.append(1)
        return graph

    denoiser = Denoiser(
        checkpoint.unet, Processor(), Tuning(compile="blocks", compile_backend=counting, prompt_once=True)
    )
    first = 0
    for rows, cells in ((3, (16, 16)), (5, (16, 16)), (5, (32, 32)), (5, (16, 24)), (8, (8, 32))):
        call(denoiser, prompts(checkpoint, rows), cells)
        denoiser.settle()
        assert denoiser._builder is not None
        assert denoiser._builder.find(Shape(rows, *cells)) is not None
        if rows == 3:
            first = len(compiled)
    model: Any = checkpoint.unet
    blocks = [it for it in model.modules() if type(it).__name__ in ("BasicTransformerBlock", "ResnetBlock2D")]
    assert 0 < first < len(blocks)
    assert len(compiled) == first
    denoiser.close()


def test_what_cannot_be_compiled_is_said_and_painted_all_the_same(
    checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_graph: object, _inputs: object) -> Any:
        raise ValueError("planted")

    said = prompts(checkpoint, 2)
    stock = call(Denoiser(checkpoint.unet, Processor(), Tuning()), said)
    for graphs in (False, True):
        denoiser = Denoiser(
            checkpoint.unet, Processor(), Tuning(compile="blocks", compile_backend=refuse, graphs=graphs)
        )
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                assert torch.equal(call(denoiser, said), stock)
                denoiser.settle()
        assert denoiser._builder is not None
        assert (denoiser._builder.find(Shape(2, 8, 8)) is not None) is graphs
        denoiser.close()
        assert "cannot compile for 2 rows of 64×64" in caplog.text
        caplog.clear()


def test_what_a_graph_reads_goes_with_it(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.model.graphs._MOST_GRAPHS", 2)
    of, read = Seats.of, list[ref[Tensor]]()

    def watched(self: Seats, shape: Shape) -> Inputs:
        inputs = of(self, shape)
        read.append(ref(inputs.latents))
        return inputs

    monkeypatch.setattr(Seats, "of", watched)
    denoiser = Denoiser(checkpoint.unet, Processor(), Tuning(graphs=True))
    said = prompts(checkpoint, 1)
    for cells in range(8, 13):
        call(denoiser, said, (8, cells))
        denoiser.settle()
    gc.collect()
    assert len(read) == 5
    assert sum(latents() is not None for latents in read) == 2
    denoiser.close()


class Recording(Processor):
    """Records by a function of the test's."""

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record

    def recorder(self) -> Record:
        return self._record


def test_what_cannot_be_recorded_stays_slow(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    said = prompts(checkpoint, 2)

    def refuse(_: object) -> Any:
        raise RuntimeError("planted: operation not permitted when stream is capturing")

    denoiser = Denoiser(checkpoint.unet, Recording(refuse), Tuning(graphs=True))
    first = call(denoiser, said)
    denoiser.settle()
    assert torch.equal(call(denoiser, said), first)
    assert "its steps stay slow" in caplog.text
    denoiser.close()


def test_what_is_built_is_waited_for_no_longer_than_said_and_forgotten_when_told_to(checkpoint: Checkpoint) -> None:
    go_on = threading.Event()

    def slowly(call: Callable[[], Tensors]) -> Callable[[], Tensors]:
        assert go_on.wait(60)
        return call

    denoiser, shape = Denoiser(checkpoint.unet, Recording(slowly), Tuning(graphs=True)), Shape(2, 8, 8)
    call(denoiser, prompts(checkpoint, 2))
    denoiser.settle(0.05)
    assert denoiser.way(shape) == "by itself"
    go_on.set()
    denoiser.settle()
    assert denoiser.way(shape) == "graph"
    denoiser.forget()
    assert denoiser.way(shape) == "by itself"
    denoiser.settle()
    assert denoiser.way(shape) == "by itself", "being asked for is not being wanted"
    denoiser.close()


def test_a_full_device_does_not_end_compiling(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    said = prompts(checkpoint, 3)
    denoiser = Denoiser(checkpoint.unet, Processor(), replace(EACH["blocks"], graphs=True))
    forward, full = denoiser._forward, [True]

    def fail_once(unet: Any, inputs: Inputs) -> Any:
        if unet is not denoiser._plain and full.pop():
            raise RuntimeError("planted: no workspace")
        return forward(unet, inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(denoiser, "_forward", fail_once)
        call(denoiser, said)
        denoiser.settle()
    assert "cannot compile for 3 rows" in caplog.text
    assert "from now on without" not in caplog.text
    assert denoiser.way(Shape(3, 8, 8)) == "graph"
    call(denoiser, said[:2])
    denoiser.settle()
    assert denoiser.way(Shape(2, 8, 8)) == "compiled, graph"
    denoiser.close()


def test_what_was_compiled_for_another_order_of_attention_is_compiled_anew() -> None:
    from torch.compiler import config

    compiled, tag = list[object](), str(cast("Any", config).cache_key_tag)

    def backend(graph: Any, _: object) -> Any:
        compiled.append(graph)
        return graph

    def double(x: Tensor) -> Tensor:
        return x * 2

    compiled_double = cast("Any", torch.compile)(double, backend=backend)
    try:
        orders: list[list[tuning.Attention]] = [["flash", "math"], ["flash", "math"], ["math"]]
        for order in orders:
            tuning.prefer_attention(order)
            tuning.know_compiler()
            compiled_double(torch.ones(2))
            assert cast("Any", config).cache_key_tag == ", ".join(order), "kept on disk, it would be found again"
        assert len(compiled) == 2
    finally:
        tuning.prefer_attention(("flash", "efficient", "math"))
        cast("Any", config).cache_key_tag = tag


def test_what_is_built_beforehand_are_the_graphs_that_calls_look_for(checkpoint: Checkpoint) -> None:
    """Beyond 32 rows not each number has one of its own."""
    denoiser = Denoiser(checkpoint.unet, Processor(), Tuning(graphs=True))
    with torch.inference_mode():
        denoiser.hear(*prompts(checkpoint, 1))
    denoiser.warm_up([Shape(rows, 8, 8) for rows in (38, 36, 34, 4)])
    denoiser.settle()
    assert [rows for rows in range(3, 41) if denoiser.way(Shape(rows, 8, 8)) == "graph"] == [4, 36, 40]
    denoiser.close()


def test_one_picture_is_built_first_and_then_the_most(checkpoint: Checkpoint) -> None:
    built = list[int]()

    def watched(call: Callable[[], Tensors]) -> Callable[[], Tensors]:
        built.append(len(call()[0]))
        return call

    runner = TorchRunner(replace(checkpoint, device=Recording(watched)), tuning=Tuning(graphs=True))
    runner.warm_up({runner.key(64, 64, precise=False): 4})
    runner.settle()
    assert built == [2, 8, 6, 4]
    runner.close()


def test_attention_goes_on_without_cudnn_when_cudnn_cannot(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    denoiser = Denoiser(checkpoint.unet, Processor(), Tuning())
    forward, calls = denoiser._plain.forward, list[int]()

    def failing(*given: Any, **more: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("cuDNN Frontend error: no valid execution plans")
        return forward(*given, **more)

    monkeypatch.setattr(denoiser._plain, "forward", failing)
    assert call(denoiser, prompts(checkpoint, 1)).shape == (1, 4, 8, 8)
    assert "goes on without cuDNN" in caplog.text


def test_fused_and_shared_weights_are_those_of_the_checkpoint(checkpoint: Checkpoint) -> None:
    model: Any = Denoiser(checkpoint.unet, Processor(), Tuning())._plain
    fuse_qkv(model)
    attention = next(it.attn1 for it in model.modules() if type(it).__name__ == "BasicTransformerBlock")
    width = len(attention.to_q.weight)
    assert attention.to_qkv.weight[width : 2 * width].data_ptr() == attention.to_k.weight.data_ptr()


def test_nothing_is_tuned_on_a_processor_and_nothing_compiled_for_fixed_rows() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert tuned_for(cpu) == Tuning()
    assert tuned_for(cpu, graphs=True) == Tuning(), "there are none"
    assert tuned_for(cuda).compile == "blocks"
    assert tuned_for(cuda, compile="off", graphs=False) == replace(tuned_for(cuda), compile="off", graphs=False)
    fixed = tuned_for(cuda, compile="whole", fixed_rows=True)
    assert (fixed.compile, fixed.graphs) == ("off", True)
    before = torch.backends.cudnn.benchmark
    set_flags(cpu, torch.float32)
    assert torch.backends.cudnn.benchmark is before
