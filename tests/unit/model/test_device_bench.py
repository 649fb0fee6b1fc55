"""The measuring script runs through on a processor, so that it is there when a GPU is."""

import json
import math
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bench.device import __main__ as bench
from tests.bench.device import cold
from tests.bench.device.bench import Bench
from tests.bench.device.ladder import Rung, climb
from tests.bench.device.model import Work, count_work, open_model
from tests.bench.device.painting import TINY, joined, step
from tests.bench.device.sheet import Sheet
from worker.model.checkpoint import Checkpoint
from worker.model.tuning import Attention, Tuning, prefer_attention

ORDER: tuple[Attention, ...] = ("flash", "efficient", "math", "cudnn")
"""torch's own, said aloud: other tests leave another one."""


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    torch.set_num_threads(1)
    prefer_attention(ORDER)
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    model = open_model("tiny", torch.device("cpu"), torch.float32)
    work = count_work(model, TINY.side)

    def opened(*_: object) -> Checkpoint:
        return model

    def counted(*_: object) -> Work:
        return work

    with pytest.MonkeyPatch.context() as patch:  # these two are most of the time of a part
        patch.setattr(bench, "open_model", opened)
        patch.setattr("tests.bench.device.bench.count_work", counted)
        for part in bench.PARTS:
            bench.main([part, "--json", str(file), "--model", "tiny", "--dtype", "float32"])
    return json.loads(file.read_text())


@pytest.mark.timeout(600)
def test_every_section_of_every_part_leaves_figures(figures: dict[str, Any]) -> None:
    told = [(part, name, it) for part, sections in figures.items() for name, it in sections.items()]
    assert [(part, name) for part, name, it in told if "failed" in it or "left out" in it] == []
    ways = ("precision", "prompt_once", "graphs", "graphs, flash attention", "graphs, timed convolutions", "best")
    rungs = {f"engine: {it}" for it in (*ways, "best, without graphs")}
    others = {"recording", "ceilings", "stock", "stock, engine's switches", "float32", "end"}
    assert others | rungs <= set(figures["ladder"])
    load = {"stock", "saturation, 1 a step", "batch curve, 32²", "mixed 32², step level", "caps"}
    bits = {f"same bits, {it}" for it in ("free rows", "free rows, not compiled", "4 fixed rows, not compiled")}
    assert load | bits | {"end"} <= set(figures["load"])
    caches = {f"engine: lossy, {it}" for it in ("step cache 2", "step cache 3", "fp8", "fp8 and step cache 3")}
    assert {"stock", "float32", "end"} | caches <= set(figures["beyond"])
    assert {"first pictures", "end"} <= set(figures["cold"])


def test_the_figures_say_what_was_done(figures: dict[str, Any]) -> None:
    ladder, load, beyond = (figures[part] for part in ("ladder", "load", "beyond"))
    recording = ladder["recording"]
    assert all(recording[it] is True for it in ("by itself", "after all are gone", "beside a thread"))
    assert recording["other_failed"] == ""
    assert ladder["recording, after one that failed"] == {"is right": True}, "nothing is refused on a processor"
    convolutions = {name: it["convolutions"] for name, it in ladder.items() if "convolutions" in it}
    assert convolutions.pop("engine: graphs, timed convolutions") == "timed"
    assert set(convolutions.values()) == {"cuDNN's choice"}
    assert ladder["engine: graphs"]["levels_most"] <= 1
    assert ladder["stock"]["levels_most"] <= 1
    assert ladder["engine: graphs"]["latents_differ"] < 1e-4
    assert [ladder[f"engine: {name}"]["way"] for name in ("precision", "graphs")] == ["by itself", "graph"]
    orders = {name: it["attention_order"] for name, it in ladder.items() if "attention_order" in it}
    assert orders.pop("engine: graphs, flash attention") == "flash, efficient, math"
    assert "stock" in orders
    assert set(orders.values()) == {", ".join(ORDER)}
    assert ladder["work"]["tflop"] < ladder["work"]["stock_tflop"]
    assert math.isclose(ladder["work"]["floor_s"], ladder["work"]["tflop"] / 790)
    assert beyond["engine: lossy, step cache 2"]["latents_differ"] > 1e-4
    assert load["same bits, 4 fixed rows, not compiled"]["in_company"] is True
    assert load["caps"]["32²"] >= 1
    assert load["caps"]["way"] == "graph"
    assert load["saturation, 1 a step"]["lost"] == 0


def test_what_fails_or_comes_too_late_is_said_and_the_rest_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("planted")

    sheet = Sheet("part", tmp_path / "there" / "figures.json", 10)
    sheet.put("first", {"seconds": 1.5})
    sheet.put("second", {"half": 1})
    sheet.section("second", 0, fail)
    sheet.section("third", 1000, fail)
    Sheet("another", tmp_path / "there" / "figures.json", 10).put("first", {"seconds": 2})
    parts = json.loads((tmp_path / "there" / "figures.json").read_text())
    figures = parts["part"]
    assert figures["first"] == {"seconds": 1.5}
    assert figures["second"] == {"half": 1, "failed": "ValueError: planted"}
    assert "left out" in figures["third"]
    assert parts["another"] == {"first": {"seconds": 2}}
    assert "first: seconds=1.5" in capsys.readouterr().out


@pytest.fixture
def own(checkpoint: Checkpoint) -> Bench:
    return Bench(Sheet("part", None, 100), TINY, checkpoint, Tuning())


def test_a_runner_that_cannot_be_made_ends_its_own_section(own: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr("tests.bench.device.bench.TorchRunner", full)
    climb(own, None, [Rung("first", 0, Tuning()), Rung("second", 0, Tuning())])
    assert own.sheet.figures == {f"engine: {it}": {"failed": "OutOfMemoryError: planted"} for it in ("first", "second")}


def test_a_cold_start_that_fails_shows_what_it_said(
    own: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho planted >&2\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    own.section("cold", 0, partial(cold.start, own, "cold", str(tmp_path)))
    assert own.sheet.figures == {"cold": {"failed": "RuntimeError: CalledProcessError: planted\n"}}


def test_building_is_waited_for_no_longer_than_the_part_may_take(own: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    go = threading.Event()

    def build(*_: object) -> None:
        go.wait()

    monkeypatch.setattr("worker.model.denoiser.Denoiser._record", build)
    own.sheet.seconds = 0.05
    with own.runner(Tuning(graphs=True)) as runner:
        step(runner, [joined(runner, TINY.job(0))])
        with pytest.raises(TimeoutError):
            own.settle(runner)
        go.set()
