"""What the worker and the courier can be told, and that nonsense is refused by its name."""

from pathlib import Path

import pytest

from shared.errors import WrongSetting
from shared.settings import load
from worker.settings import CourierSettings, WorkerSettings


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {*WorkerSettings.model_fields, *CourierSettings.model_fields}:
        monkeypatch.delenv(name.upper(), raising=False)


def test_everything_has_a_default() -> None:
    assert load(WorkerSettings).kolors_model == "tiny"
    assert load(WorkerSettings).model_cache == Path(".data/models")


def test_what_lies_beside_the_data_moves_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", "/data")
    assert load(WorkerSettings).model_cache == Path("/data/models")
    assert load(CourierSettings).webhook_keys_dir == Path("/data/keys")
    monkeypatch.setenv("MODEL_CACHE", "/elsewhere")
    assert load(WorkerSettings).model_cache == Path("/elsewhere")


def test_ten_attempts_over_two_hours() -> None:
    retries = load(CourierSettings).webhook_retry_s
    assert len(retries) == 9
    assert sum(retries) == 7200
    assert retries[0] <= 5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONCURRENCY", "0"),
        ("CONCURRENCY", "many"),
        ("DTYPE", "int8"),
        ("LEASE_MS", "8000"),
        ("FENCE_MS", "10000"),
        ("RENEW_MS", "4001"),
        ("GRACE_S", "-1"),
        ("FIXED_ROWS", "3"),
        ("FIXED_ROWS", "many"),
        ("LOSSY_FP8", "perhaps"),
        ("LOSSY_STEP_CACHE", "1"),
        ("LOSSY_STEP_CACHE", "11"),
        ("WEBHOOK_RETRY_S", "1,soon"),
        ("COURIER_CONCURRENCY", "0"),
    ],
)
def test_nonsense_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    is_couriers = name.lower() in CourierSettings.model_fields
    with pytest.raises(WrongSetting) as caught:
        load(CourierSettings if is_couriers else WorkerSettings)
    assert caught.value.name == ("FENCE_MS" if name == "LEASE_MS" else name)


def test_retries_are_a_list_of_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_RETRY_S", "0.5, 2,10")
    assert load(CourierSettings).webhook_retry_s == (0.5, 2, 10)


def test_rows_are_free_unless_they_are_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(WorkerSettings).fixed_rows is None
    monkeypatch.setenv("FIXED_ROWS", "8")
    assert load(WorkerSettings).fixed_rows == 8


def test_a_step_cache_needs_levels_that_are_not_compiled_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSY_STEP_CACHE", "2")
    assert load(WorkerSettings).lossy_step_cache == 2
    monkeypatch.setenv("COMPILE", "whole")
    with pytest.raises(WrongSetting, match="COMPILE=whole") as caught:
        load(WorkerSettings)
    assert caught.value.name == "LOSSY_STEP_CACHE"
