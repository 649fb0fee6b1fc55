"""A leak is told from noise, from a warm-up that ends, and from what is not judged."""

import random

import pytest

from tests.bench.trends import Sample, table, trend

HOUR = range(0, 3600, 15)


def series(name: str, *values: float) -> list[Sample]:
    """Over an hour, with a noise of 1 %."""
    chance = random.Random(1)
    each = len(HOUR) / len(values)
    return [(at, {name: values[int(i / each)] * chance.uniform(0.99, 1.01)}) for i, at in enumerate(HOUR)]


@pytest.mark.parametrize(
    ("name", "values", "verdict"),
    [
        ("api MiB", (80, 80, 80), "flat"),
        ("api MiB", (80, 82, 83), "flat"),
        ("api MiB", (80, 85, 90), "grows"),
        ("api MiB", (80, 89, 90), "rose, and stays"),
        ("api MiB", (300, 306, 312), "flat"),
        ("api MiB", (90, 85, 80), "flat"),
        ("api fds", (20, 24, 30), "grows"),
        ("all keys", (2000, 2050, 2090), "flat"),
        ("all keys", (2000, 2100, 2200), "grows"),
        ("submit p50 ms", (5, 50, 500), ""),
    ],
)
def test_verdict(name: str, values: tuple[float, ...], verdict: str) -> None:
    assert trend(name, series(name, *values)).verdict == verdict


def test_slope_and_thirds() -> None:
    rising: list[Sample] = [(at, {"a MiB": 10 + at / 3600}) for at in HOUR]
    found = trend("a MiB", rising)
    assert found.per_hour == pytest.approx(1)
    assert found.thirds == pytest.approx((10 + 1 / 6, 10.5, 10 + 5 / 6), abs=0.01)
    assert "+1.00" in table([found])


def test_samples_without_it_are_left_out() -> None:
    some: list[Sample] = [(at, {"a MiB": 1.0} if at % 30 else {}) for at in HOUR]
    assert trend("a MiB", some).thirds == (1, 1, 1)
