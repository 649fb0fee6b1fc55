"""The measuring script runs through on a processor, so that it is there when a GPU is."""

import json
import math
from pathlib import Path

import pytest
import torch

from tests.bench.device import __main__ as bench
from tests.bench.device.sheet import Sheet


@pytest.mark.timeout(600)
def test_every_section_leaves_figures(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    bench.main(["--json", str(tmp_path / "figures.json"), "--model", "tiny", "--dtype", "float32"])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert [name for name, told in figures.items() if "failed" in told or "left out" in told] == []
    expected = {"ceilings", "stock", "float32", "engine: precision", "engine: graphs", "saturation, 1 a step"}
    expected |= {"batch curve, 32²", "same bits, 4 fixed rows", "mixed 32², step level", "end"}
    expected |= {"engine: lossy, step cache 2", "engine: lossy, fp8 and step cache 3"}
    assert expected <= set(figures)
    assert figures["engine: graphs"]["levels_most"] <= 1
    assert figures["engine: graphs"]["latents_differ"] < 1e-4
    assert figures["engine: lossy, step cache 2"]["latents_differ"] > 1e-4
    assert figures["same bits, 4 fixed rows"]["in_company"] is True
    assert figures["saturation, 1 a step"]["lost"] == 0
    assert math.isclose(figures["work"]["floor_s"], figures["work"]["tflop_a_picture"] / 790)


def test_what_fails_or_comes_too_late_is_said_and_the_rest_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("planted")

    sheet = Sheet(tmp_path / "there" / "figures.json", 10)
    sheet.put("first", {"seconds": 1.5})
    sheet.section("second", 0, fail)
    sheet.section("third", 1000, fail)
    figures = json.loads((tmp_path / "there" / "figures.json").read_text())
    assert figures["first"] == {"seconds": 1.5}
    assert figures["second"] == {"failed": "ValueError: planted"}
    assert "left out" in figures["third"]
    assert "first: seconds=1.5" in capsys.readouterr().out
