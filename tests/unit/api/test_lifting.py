"""A large picture is taken out of a body and put together again; nothing else may be large."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api import lifting
from api.lifting import LARGE_BYTES, lift
from shared.errors import InvalidInput, TooLarge
from shared.wire.image import NotAnObject, read_input

LONG = "data:image/png;base64," + "QUJD/+" * 200_000


def _body(fields: dict[str, Any], escaped: bool = False) -> bytearray:
    text = json.dumps(fields)
    return bytearray((text.replace("/", "\\/") if escaped else text).encode())


@pytest.mark.parametrize("escaped", [False, True])
def test_what_is_taken_out_comes_back(escaped: bool) -> None:
    body = _body({"prompt": 'a "quoted\\" one', "mask": LONG[:-9], "image_url": LONG, "seed": 3}, escaped)

    lifted = lift(body)

    assert len(lifted.text) < LARGE_BYTES
    given = read_input(lifted.text)
    assert (given.prompt, given.seed) == ('a "quoted\\" one', 3)
    pieces = list(lifted.pieces(given.image_url))
    assert "".join(pieces) == LONG
    assert max(map(len, pieces)) <= 64 * 1024


def test_a_small_body_stays_as_it_is() -> None:
    body = _body({"prompt": "p", "image_url": LONG[:1000]})

    lifted = lift(body)

    assert lifted.text is body
    assert list(lifted.pieces(LONG[:1000])) == [LONG[:1000]]


@pytest.mark.parametrize("field", ["prompt", "negative_prompt", "scheduler", "seed"])
def test_what_is_too_long_for_its_field_stays_too_long(field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_input(lift(_body({"prompt": "p", "image_url": "a", field: LONG})).text)
    assert [problem.location for problem in caught.value.problems] == [("body", field)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"prompt":"p",%b}' % b",".join(b'"%d":1' % number for number in range(200_000)),
        b'{"x":[%b]}' % (b'"",' * LARGE_BYTES),
        b'{"prompt":"%b"}' % (b"a" * LARGE_BYTES),
        b'{"prompt":"%b"}' % (b'\\"' * LARGE_BYTES),
        b" " * 2 * LARGE_BYTES,
        b'{"image_url":"data:%b","x":"%b"}' % (b"a" * LARGE_BYTES, b"b" * LARGE_BYTES),
        b"[" * 2 * LARGE_BYTES,
    ],
    ids=["keys", "strings", "a text", "escapes", "nothing", "a text beside a picture", "brackets"],
)
def test_nothing_else_may_be_large(body: bytes) -> None:
    with pytest.raises(TooLarge):
        lift(bytearray(body))


@pytest.mark.parametrize("end", [b"", b'"', b"\\", b'\\q"}', b'\\u12"}', b'\\ud800"', b'\x00"'])
def test_what_is_no_json_is_none_afterwards(end: bytes) -> None:
    body = bytearray(b'{"prompt":"p","image_url":"' + LONG.encode() + end)
    with pytest.raises((NotAnObject, TooLarge)):
        read_input(lift(body).text)


def test_a_mark_cannot_be_written_by_a_stranger() -> None:
    one, other = lift(_body({"image_url": LONG})), lift(_body({"image_url": LONG}))
    assert one.mark != other.mark
    assert len(one.mark) == 32


TEXT = st.text(st.sampled_from('ab/+=\\"\n\u00e9\U0001f9a9,:{'), max_size=300)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(st.dictionaries(TEXT, TEXT | TEXT.map(lambda text: f"data:{text}"), max_size=6), st.booleans())
def test_every_string_survives_however_it_is_written(fields: dict[str, str], ascii_: bool) -> None:
    body = bytearray(json.dumps(fields, ensure_ascii=ascii_).encode())
    with pytest.MonkeyPatch.context() as patch:
        for name, size in (("LARGE_BYTES", 8), ("_KEPT_BYTES", 8), ("_STEP_BYTES", 16)):
            patch.setattr(lifting, name, size)
        try:
            lifted = lift(body)
        except TooLarge:
            return
        read: dict[str, str] = json.loads(lifted.text)
        for value, given_ in zip(read.values(), fields.values(), strict=True):
            try:
                assert "".join(lifted.pieces(value)) == given_
            except ValueError:
                assert not given_.isascii()
