"""What is inside a data: URI, however it is written and wherever it is cut."""

import base64
from io import BytesIO
from itertools import pairwise
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.data_uri import decode
from shared.errors import InvalidInput


def _content(pieces: list[str], max_bytes: int = 10_000) -> tuple[str, bytes]:
    file = BytesIO()
    return decode(pieces, max_bytes, file), file.getvalue()


def _cut(text: str, places: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(edges)]


@settings(max_examples=300, derandomize=True, deadline=None)
@given(
    st.binary(min_size=1, max_size=200),
    st.lists(st.integers(0, 1000), max_size=12),
    st.sampled_from(["plain", "url", "bare", "quoted", "lines", "percent"]),
)
def test_any_cut_gives_the_same(content: bytes, places: list[int], form: str) -> None:
    plain = base64.b64encode(content).decode()
    rest = {
        "plain": plain,
        "url": base64.urlsafe_b64encode(content).decode(),
        "bare": plain.rstrip("="),
        "quoted": quote_from_bytes(plain.encode(), safe=""),
        "lines": "\r\n".join(plain[at : at + 7] for at in range(0, len(plain), 7)),
        "percent": quote_from_bytes(content),
    }[form]
    head = "data:image/png," if form == "percent" else "DATA:image/PNG;x=y;base64,"

    pieces = _cut(rest, places)

    assert _content([head + "".join(pieces[:1]), *pieces[1:]]) == ("image/png", content)


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([], "image_load_error"),
        (["data:"], "image_load_error"),
        (["data:image/png" + "x" * 2000 + ",a"], "image_load_error"),
        (["data:,"], "image_load_error"),
        (["data:;base64,", ""], "image_load_error"),
        (["data:;base64,Q"], "image_load_error"),
        (["data:;base64,QQ=", "=QQ=="], "image_load_error"),
        (["data:;base64,QQ==", "=" * 100], "image_load_error"),
        (["data:;base64,QUJD", "\u00e9"], "image_load_error"),
        (["data:;base64,", "QUJD" * 10_000], "file_too_large"),
    ],
)
def test_what_has_no_content(pieces: list[str], kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        _content(pieces)
    (problem,) = caught.value.problems
    assert (problem.location, problem.type) == (("body", "image_url"), kind)


@pytest.mark.parametrize("said", ["", "text/html", "image/png\r\nX: y", "IMAGE/" + "x" * 99])
def test_a_type_is_kept_only_if_it_is_one_of_pictures(said: str) -> None:
    assert _content([f"data:{said};base64,QQ=="]) == ("application/octet-stream", b"A")
