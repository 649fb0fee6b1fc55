"""The determinism contract on a processor in float32: see docs/determinism.md.

Alone: bitwise the stock pipeline. In company, whoever it is and whenever they come: the same within rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from tests.unit.engine.jobs import job, picture
from tests.unit.engine.stock import Stock
from worker.engine.job import Job
from worker.engine.runner import TorchRunner
from worker.engine.state import DenoiseState
from worker.model.denoiser import Denoiser
from worker.model.graphs import Said
from worker.model.solver import NAMES

JOBS = [
    job(id="0", solver=NAMES[0], prompt="a photo of a cat", strength=0.85, steps=8, seed=100),
    job(id="1", solver=NAMES[1], prompt="a photo of a dog", strength=0.5, steps=12, guidance_scale=1.0, images=2),
    job(id="2", solver=NAMES[2], prompt="", negative_prompt="blurry", strength=1.0, steps=6, guidance_scale=7.5),
    job(id="3", solver=NAMES[3], prompt="dark sea", strength=0.7, steps=9, guidance_scale=3.0, images=3, seed=2**63),
    job(id="4", solver=NAMES[4], prompt="forest", strength=0.6, steps=14, guidance_scale=1.0, negative_prompt="x"),
    job(id="5", solver=NAMES[5], prompt="river", strength=0.95, steps=7, guidance_scale=9.7, images=2, seed=17),
    job(id="6", solver=NAMES[4], prompt="一张瓢虫的照片", negative_prompt="dark", strength=0.6, steps=15, seed=777),
    job(id="7", solver=NAMES[1], prompt="late", strength=0.9, steps=9, guidance_scale=4.0, images=2, seed=778),
]


def joined(runner: TorchRunner, one: Job) -> DenoiseState:
    return runner.prepare(one, runner.key(one.image.width, one.image.height, precise=False))


def step(runner: TorchRunner, states: Sequence[DenoiseState], slots: int = 64) -> None:
    runner.advance(states, runner.predict(states, slots=slots))


def alone(runner: TorchRunner, one: Job) -> DenoiseState:
    state = joined(runner, one)
    while state.step < state.steps:
        step(runner, [state])
    return state


@pytest.mark.parametrize("one", JOBS, ids=lambda one: f"{one.solver}-{one.images}")
def test_alone_it_is_bitwise_the_stock_pipeline(runner: TorchRunner, stock: Stock, one: Job) -> None:
    state = alone(runner, one)
    assert torch.equal(state.latents, stock.paint(one, "latent"))
    for ours, theirs in zip(runner.decode(state, job=one).pictures, stock.paint(one, "pil"), strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_the_picture_is_encoded_once_for_all_of_a_request(runner: TorchRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    encode, given = runner.checkpoint.vae.encode, list[Any]()

    def noted(pixels: Any) -> Any:
        given.append(pixels.shape)
        return encode(pixels)

    monkeypatch.setattr(runner.checkpoint.vae, "encode", noted)
    alone(runner, job(images=3, steps=2))
    assert given == [(1, 3, 64, 64)]


@pytest.mark.parametrize("size", [(64, 128), (104, 72), (128, 128)])
def test_alone_at_other_sizes(runner: TorchRunner, stock: Stock, size: tuple[int, int]) -> None:
    one = job(image=picture(*size), steps=3)
    assert torch.equal(alone(runner, one).latents, stock.paint(one, "latent"))


@pytest.mark.parametrize("name", NAMES)
def test_where_the_stock_pipeline_paints_nothing_one_step_is_done(runner: TorchRunner, stock: Stock, name: str) -> None:
    one = job(solver=name, steps=10, strength=0.01)
    assert len(stock.paint(one, "latent")) == 0
    same = job(solver=name, steps=10, strength=0.1)
    assert torch.equal(alone(runner, one).latents, stock.paint(same, "latent"))


def test_the_same_seed_alone_twice_is_bitwise_equal_whatever_ran_before(runner: TorchRunner) -> None:
    first = alone(runner, JOBS[3])
    crowd = [joined(runner, one) for one in JOBS]
    for _ in range(3):
        step(runner, crowd)
    alone(runner, job(image=picture(128, 64), prompt="another"))
    assert torch.equal(alone(runner, JOBS[3]).latents, first.latents)


def in_company(runner: TorchRunner, order: Sequence[int], every: int, lost: int | None) -> dict[int, DenoiseState]:
    """They join in this order, one every so many steps; number `lost` is dropped after four steps of the batch."""
    coming, here, done, ticks = list(order), dict[int, DenoiseState](), dict[int, DenoiseState](), 0
    while coming or here:
        while coming and (ticks >= every * (len(order) - len(coming)) or not here):
            number = coming.pop(0)
            here[number] = joined(runner, JOBS[number])
        step(runner, list(here.values()))
        ticks += 1
        if ticks == 4 and lost is not None:
            del here[lost]
        for number, state in list(here.items()):
            if state.step == state.steps:
                done[number] = here.pop(number)
    return done


@pytest.mark.parametrize(
    ("order", "every", "lost"),
    [(range(8), 0, None), (range(8), 2, None), (range(7, -1, -1), 2, None), (range(8), 1, 0)],
    ids=["together", "staggered", "reversed", "one lost"],
)
def test_company_changes_nothing_but_rounding(
    runner: TorchRunner, order: Sequence[int], every: int, lost: int | None
) -> None:
    done = in_company(runner, order, every, lost)
    assert len(done) == len(JOBS) - (lost is not None)
    for number, state in done.items():
        reference = alone(runner, JOBS[number])
        assert (state.latents - reference.latents).abs().max() < 1e-4
        painted, expected = (runner.decode(it, job=JOBS[number]).pictures for it in (state, reference))
        for ours, theirs in zip(painted, expected, strict=True):
            assert np.abs(np.asarray(ours, np.int16) - np.asarray(theirs, np.int16)).max() <= 1


@pytest.mark.parametrize("guidance", [1.0, 5.0, 10.0])
def test_each_step_in_company_is_the_same_step_alone_but_for_rounding(
    tiny_runner: TorchRunner, guidance: float
) -> None:
    """With a model that was trained: what it makes of rounding in the end is its own affair."""
    jobs = [
        job(
            id=str(k),
            image=picture(seed=k),
            prompt=f"a lake and {k} trees at night",
            negative_prompt=("", "snow")[k % 2],
            strength=1.0,
            guidance_scale=guidance,
            solver=solver,
            seed=k,
        )
        for k, solver in enumerate(NAMES)
    ]
    states = [joined(tiny_runner, one) for one in jobs]
    while states[0].step < states[0].steps:
        together = tiny_runner.predict(states, slots=64)
        for state, said in zip(states, together, strict=True):
            (by_itself,) = tiny_runner.predict([state], slots=64)
            assert (by_itself.noise - said.noise).abs().max() < 1e-5 * (2 * guidance - 1)
            tiny_runner.advance([state], [by_itself])


def test_the_comparison_would_see_a_fault(runner: TorchRunner) -> None:
    reference = alone(runner, JOBS[0]).latents
    for changes in ({"prompt": "a photo of a dog"}, {"negative_prompt": "x"}, {"guidance_scale": 5.1}, {"seed": 101}):
        other = alone(runner, job(**{**{name: getattr(JOBS[0], name) for name in JOBS[0].__slots__}, **changes}))
        assert (other.latents - reference).abs().max() > 1e-3


def test_more_pictures_than_slots_are_cut_and_equal(runner: TorchRunner) -> None:
    eight = job(images=8, steps=3, solver=NAMES[1])
    state = joined(runner, eight)
    while state.step < state.steps:
        step(runner, [state], slots=3)
    assert (state.latents - alone(runner, eight).latents).abs().max() < 1e-4


def test_picture_k_of_many_is_that_of_seed_plus_k(runner: TorchRunner) -> None:
    many = alone(runner, job(images=3, seed=50, steps=4, solver=NAMES[3]))
    third = alone(runner, job(seed=52, steps=4, solver=NAMES[3]))
    assert (many.latents[2:] - third.latents).abs().max() < 1e-4


@pytest.fixture(scope="session", params=[2, 8])
def fixed(runner: TorchRunner, request: pytest.FixtureRequest) -> TorchRunner:
    return TorchRunner(runner.checkpoint, fixed_rows=request.param)


def test_with_fixed_rows_company_changes_nothing_at_all(fixed: TorchRunner) -> None:
    for number, state in in_company(fixed, range(7, -1, -1), 1, None).items():
        assert torch.equal(state.latents, alone(fixed, JOBS[number]).latents), number


def test_with_fixed_rows_a_rows_place_changes_nothing(fixed: TorchRunner) -> None:
    """At a size whose rows do not fill the vector registers evenly; without guidance a picture has a single row."""
    jobs = [
        job(id=str(k), image=picture(104, 72, seed=k), steps=3, seed=k, guidance_scale=(1.0, 1.0, 1.0, 5.0)[k])
        for k in range(4)
    ]
    states = [joined(fixed, one) for one in jobs]
    while states[0].step < states[0].steps:
        step(fixed, states)
    for one, state in zip(jobs, states, strict=True):
        assert torch.equal(state.latents, alone(fixed, one).latents), one.id


def test_with_fixed_rows_picture_k_of_many_is_that_of_seed_plus_k(fixed: TorchRunner) -> None:
    many = alone(fixed, job(images=8, seed=50, steps=3, solver=NAMES[0]))
    third = alone(fixed, job(seed=52, steps=3, solver=NAMES[0]))
    assert torch.equal(many.latents[2:3], third.latents)


def test_with_fixed_rows_it_is_still_the_same_picture(fixed: TorchRunner, runner: TorchRunner) -> None:
    for one in JOBS[:2]:
        assert (alone(fixed, one).latents - alone(runner, one).latents).abs().max() < 1e-4


def test_every_call_has_the_fixed_rows(fixed: TorchRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    call = Denoiser.__call__

    def watched(self: Denoiser, latents: torch.Tensor, *rest: Any, **options: Any) -> Said:
        seen.add(len(latents))
        return call(self, latents, *rest, **options)

    monkeypatch.setattr(Denoiser, "__call__", watched)
    step(fixed, [joined(fixed, one) for one in JOBS])
    alone(fixed, JOBS[4])
    assert len(seen) == 1
