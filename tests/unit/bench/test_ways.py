"""What measures the ways to take a step is run through once, so that it stays whole: its times are not looked at."""

import re

import pytest

from tests.bench import ways


def test_another_way_paints_the_usual_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    ways.main(["--size", "64", "--rounds", "1", "--ways", "fixed-rows-8"])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("fixed-rows-8"))
    assert [int(levels) <= 1 for levels in re.findall(r", (\d+)(?= \||$)", line)] == [True, True]
