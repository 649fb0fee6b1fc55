"""How header values are read, nonsense included."""

import uuid

import pytest

from shared.errors import BadRequest
from shared.wire import headers, queue


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), ("30.0", 30_000), ("0.5", 500), ("1e300", 31_536_000_000)]
)
def test_a_timeout(value: str | None, expected: int | None) -> None:
    assert headers.timeout_ms("x", value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "soon",
        "nan",
        "-1",
        "0",
        "0.1",
        "1,5",
        "-inf",
        "inf",
        "infinity",
        "1_0",
        "\u0663",
        "\uff11",
        "0x10",
        "1e",
        "9" * 5000,
    ],
)
def test_a_timeout_that_makes_no_sense(value: str) -> None:
    with pytest.raises(BadRequest, match="x-fal-request-timeout"):
        headers.timeout_ms(headers.REQUEST_TIMEOUT, value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ('{"expiration_duration_seconds": 3600}', 3600),
        ('{"expiration_duration_seconds": 1.5}', 2),
        ('{"expiration_duration_seconds": 0}', None),
        ('{"expiration_duration_seconds": null}', None),
        ('{"initial_acl": {"default": "allow"}}', None),
    ],
)
def test_a_lifetime(value: str | None, expected: int | None) -> None:
    assert headers.lifetime_s("x", value) == expected


@pytest.mark.parametrize(
    "value", ["", "3600", "[]", "{", '{"expiration_duration_seconds": "1h"}', '{"expiration_duration_seconds": -1}',
              '{"expiration_duration_seconds": true}', '{"expiration_duration_seconds": NaN}', "[" * 100_000]
)  # fmt: skip
def test_a_lifetime_that_makes_no_sense(value: str) -> None:
    with pytest.raises(BadRequest):
        headers.lifetime_s("x", value)


def test_priority_and_flags() -> None:
    assert [headers.is_low_priority(value) for value in (None, "normal", "low", "LOW")] == [False, False, True, True]
    with pytest.raises(BadRequest):
        headers.is_low_priority("urgent")
    assert [headers.keeps_io(value) for value in (None, "1", "0")] == [True, True, False]
    assert [headers.is_set(value) for value in (None, "0", "1", "true", "True", "yes")] == [False, False] + [True] * 4


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb", "a\x00"])
def test_an_idempotency_key_that_makes_no_sense(value: str) -> None:
    with pytest.raises(BadRequest):
        headers.idempotency_key(value)


def test_request_ids_are_version_7_and_sort_by_time() -> None:
    made = [queue.new_request_id() for _ in range(50)]
    assert all(uuid.UUID(id).version == 7 and uuid.UUID(id).variant == uuid.RFC_4122 for id in made)
    assert all(queue.is_request_id(id) for id in made)
    assert len(set(made)) == 50
    assert [id[:13] for id in made] == sorted(id[:13] for id in made)


@pytest.mark.parametrize(
    "text", ["", "x", "../../etc", "0198e951-c778-7120-9c82-16efcf40ec8", "0198e951c77871209c8216efcf40ec82"]
)
def test_what_is_no_request_id(text: str) -> None:
    assert not queue.is_request_id(text)


def test_a_log_line_has_what_every_client_wants() -> None:
    assert queue.log("m", "WARN", 1_700_000_000_123) == {
        "message": "m",
        "level": "WARN",
        "source": "USER",
        "timestamp": "2023-11-14T22:13:20.123+00:00",
        "labels": {"level": "WARN"},
    }
