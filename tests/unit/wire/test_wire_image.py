"""The endpoint's input and sizes: what is accepted, what is said about the rest."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidInput
from shared.wire.errors import body
from shared.wire.image import (
    PRESETS,
    Image,
    ImageSize,
    Input,
    NotAnObject,
    Output,
    draw_seed,
    most_px,
    read_input,
    result_size,
)

BASE = {"prompt": "p", "image_url": "http://example.com/a.png"}
MAX_PIXELS = 2048 * 2048


def _read(**fields: object) -> Input:
    return read_input(json.dumps(BASE | fields).encode())


def _items(raw: bytes | str) -> list[dict[str, object]]:
    with pytest.raises(InvalidInput) as caught:
        read_input(raw.encode() if isinstance(raw, str) else raw)
    return json.loads(body(caught.value.problems))["detail"]


def test_defaults_are_those_of_the_endpoint() -> None:
    assert _read().model_dump() == BASE | {
        "negative_prompt": "",
        "guidance_scale": 5,
        "num_inference_steps": 50,
        "strength": 0.85,
        "seed": None,
        "num_images": 1,
        "image_size": None,
        "scheduler": "EulerDiscreteScheduler",
        "output_format": "png",
        "sync_mode": False,
        "enable_safety_checker": True,
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_body_may_be_written_as_json_ever_was(encoding: str) -> None:
    assert read_input('{"prompt":"\U0001f9a9 \u00e9","image_url":"a"}'.encode(encoding)).prompt == "\U0001f9a9 \u00e9"


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff\x00",
        b"\x00",
        b'\xff\xfe{\x00"',
        '{"prompt":"\u00e9"}'.encode("latin-1"),
    ],
)
def test_a_broken_encoding_is_no_json(raw: bytes) -> None:
    with pytest.raises(NotAnObject):
        read_input(raw)


@pytest.mark.parametrize(
    "value", ["\u0663", "\uff11", "0x10", "inf", "nan", "9" * 5000, float("inf"), float("nan"), 10**4000]
)
@pytest.mark.parametrize("field", ["seed", "num_inference_steps", "strength"])
def test_what_is_no_number_is_none(field: str, value: object) -> None:
    (item,) = _items(json.dumps(BASE | {field: value}))
    assert item["loc"] == ["body", field]


def test_unknown_fields_are_ignored_and_numbers_may_be_text() -> None:
    given = _read(num_inference_steps="7", surprise={"a": 1})
    assert given.num_inference_steps == 7


@pytest.mark.parametrize(
    ("field", "value", "kind", "context"),
    [
        ("guidance_scale", 0.9, "greater_than_equal", {"ge": 1}),
        ("guidance_scale", 10.1, "less_than_equal", {"le": 10}),
        ("num_inference_steps", 0, "greater_than_equal", {"ge": 1}),
        ("num_inference_steps", 151, "less_than_equal", {"le": 150}),
        ("strength", 0.009, "greater_than_equal", {"ge": 0.01}),
        ("strength", 1.01, "less_than_equal", {"le": 1}),
        ("num_images", 9, "less_than_equal", {"le": 8}),
        ("num_images", 0, "greater_than_equal", {"ge": 1}),
        ("seed", 2**64, "less_than_equal", {"le": 2**64 - 9}),
        ("output_format", "gif", "one_of", {"expected": ["jpeg", "png"]}),
        ("image_size", "huge", "one_of", {"expected": list(PRESETS)}),
    ],
)
def test_a_bound_is_told_in_fals_words(field: str, value: object, kind: str, context: dict[str, object]) -> None:
    (item,) = _items(json.dumps(BASE | {field: value}))
    assert item["loc"] == ["body", field]
    assert item["type"] == kind
    assert item["ctx"] == context
    assert item["url"] == f"https://docs.fal.ai/errors/#{kind}"
    assert item["input"] == value


def test_missing_fields_are_named() -> None:
    assert [(item["loc"], item["type"]) for item in _items("{}")] == [
        (["body", "prompt"], "missing"),
        (["body", "image_url"], "missing"),
    ]


def test_a_nested_field_adds_its_name() -> None:
    items = _items(json.dumps(BASE | {"image_size": {"width": 0, "height": 20_000}}))
    assert [item["loc"] for item in items] == [["body", "image_size", "width"], ["body", "image_size", "height"]]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"null",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b'{"prompt": "\xff"}',
        b'{"prompt": "\\ud800", "image_url": "x"}',
        b'{"a":' + b"[" * 100_000,
        b'{"seed":' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_no_object_is_told_apart(raw: bytes) -> None:
    with pytest.raises(NotAnObject) as caught:
        read_input(raw)
    assert json.loads(body(caught.value.problems))["detail"][0]["loc"] == ["body"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_are_refused_and_never_echoed(number: str) -> None:
    (item,) = _items(f'{{"prompt": "p", "image_url": "x", "strength": {number}}}')
    assert item["type"] == "finite_number"
    assert "input" not in item


def test_a_large_value_is_not_sent_back() -> None:
    (item,) = _items(json.dumps(BASE | {"prompt": "x" * 20_001}))
    assert (item["type"], item["ctx"]) == ("sequence_too_long", {"max_length": 20_000})
    assert "input" not in item


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_noise_breaks_the_reader(raw: bytes) -> None:
    assert _items(raw)


def test_the_queue_gets_a_seed_and_the_worker_reads_the_same() -> None:
    given = _read(image_size={"width": 640}, seed=None)
    stored = Input.model_validate_json(given.to_queue(image_url="data:image/png;base64,"))
    assert stored.seed is not None
    assert 0 <= stored.seed < 2**53 - 7
    assert stored.image_url == "data:image/png;base64,"
    assert stored.image_size == ImageSize(width=640, height=512)
    assert Input.model_validate_json(_read(seed=-5).to_queue(image_url="x")).seed == -5


def test_seeds_are_drawn_over_the_whole_range() -> None:
    seeds = [draw_seed() for _ in range(200)]
    assert len(set(seeds)) == 200
    assert max(seeds) > 2**52


@pytest.mark.parametrize(
    ("given", "asked", "expected"),
    [
        ((512, 512), None, (512, 512)),
        ((515, 1001), None, (512, 1000)),
        ((2048, 2048), None, (1024, 1024)),
        ((3000, 2000), None, (1248, 832)),
        ((8192, 512), None, (4096, 256)),
        ((20, 16), None, (16, 16)),
        ((64, 64), "square_hd", (1024, 1024)),
        ((64, 64), ImageSize(width=333, height=777), (328, 776)),
    ],
)
def test_the_size_of_a_result(given: tuple[int, int], asked: ImageSize | None, expected: tuple[int, int]) -> None:
    assert result_size(given, asked, MAX_PIXELS) == expected


@pytest.mark.parametrize(
    ("given", "asked", "kind"),
    [
        ((15, 500), None, "image_too_small"),
        ((500, 15), "square", "image_too_small"),
        ((1601, 100), None, "image_too_large"),
        ((100, 1601), "square", "image_too_large"),
        ((64, 64), ImageSize(width=2056, height=2048), "image_too_large"),
        ((64, 64), ImageSize(width=15, height=512), "image_too_small"),
    ],
)
def test_a_size_of_no_use(given: tuple[int, int], asked: ImageSize | None, kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        result_size(given, asked, MAX_PIXELS)
    (problem,) = caught.value.problems
    assert problem.type == kind
    assert problem.context


@given(st.tuples(st.integers(16, 20_000), st.integers(16, 20_000)), st.integers(64 * 64, MAX_PIXELS))
def test_a_natural_size_is_on_the_grid_and_never_larger(size: tuple[int, int], max_pixels: int) -> None:
    if max(size) > 16 * min(size):
        return
    width, height = result_size(size, None, max_pixels)
    assert width % 8 == height % 8 == 0
    assert 0 < width <= size[0]
    assert 0 < height <= size[1]
    assert width * height <= min(1024 * 1024, max_pixels)


def test_the_cost_is_known_before_the_picture_is() -> None:
    assert most_px(_read(), MAX_PIXELS) == 1024 * 1024
    assert most_px(_read(image_size="square"), MAX_PIXELS) == 512 * 512


def test_fields_that_are_not_known_are_left_out_of_the_output() -> None:
    image = Image(url="u", width=1, height=2)
    output = Output(images=[image], timings={"inference": 1.5}, seed=1, has_nsfw_concepts=[False], prompt="p")
    assert json.loads(output.to_json())["images"] == [
        {"url": "u", "content_type": "image/png", "width": 1, "height": 2}
    ]
