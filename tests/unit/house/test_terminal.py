"""Lines of several programs on one terminal."""

import io
import logging

import pytest

from deploy.local.loglines import readable
from deploy.local.terminal import Terminal
from shared.logs import JsonLines


def terminal() -> tuple[Terminal, io.StringIO]:
    out = io.StringIO()
    return Terminal(6, out), out


def test_chunks_become_whole_lines_behind_their_name():
    screen, out = terminal()
    screen.feed("api", b"one\ntw")
    screen.feed("worker", b"mine\n")
    screen.feed("api", b"o\n")
    assert out.getvalue() == "api    | one\nworker | mine\napi    | two\n"


def test_last_words_without_a_newline_are_shown_at_the_end():
    screen, out = terminal()
    screen.feed("api", b"PORT: in use")
    assert out.getvalue() == ""
    screen.end("api")
    screen.end("api")
    assert out.getvalue() == "api    | PORT: in use\n"
    assert screen.last("api") == "PORT: in use"


def test_the_last_line_is_the_last_one_that_says_something():
    screen, _ = terminal()
    screen.feed("api", b"reason\n\n  \n")
    assert screen.last("api") == "reason"
    assert screen.last("worker") == "it said nothing"


def test_bytes_that_are_no_text_do_no_harm():
    screen, out = terminal()
    screen.feed("api", b"\xff\xfe\r\n")
    assert out.getvalue() == "api    | \ufffd\ufffd\n"


def test_a_terminal_that_is_gone_does_no_harm():
    class Gone(io.StringIO):
        def write(self, s: str) -> int:
            raise BrokenPipeError

    screen = Terminal(3, Gone())
    screen.feed("api", b"one\ntwo\n")
    assert screen.last("api") == "two"


def logged(message: str, level: int = logging.INFO, *, failed: bool = False, **fields: object) -> str:
    """A line as our processes write it."""
    error = ValueError("no such thing")
    cause = (ValueError, error, None) if failed else None
    record = logging.LogRecord("worker", level, "file.py", 1, message, None, cause)
    vars(record).update(fields)
    return JsonLines("worker").format(record)


def test_json_lines_are_shown_as_people_read_them():
    line = readable(logged("took a request", request="abc", step=3))
    assert line[8:] == " took a request  request=abc  step=3"
    assert line[2] == line[5] == ":"


def test_levels_other_than_the_usual_one_are_named_and_traces_follow():
    shown = readable(logged("failed", logging.ERROR, failed=True)).split("\n")
    assert shown[0][9:] == "ERROR failed"
    assert shown[1:] == ["ValueError: no such thing"]


@pytest.mark.parametrize("line", ["plain", "{not json", "{}", '{"time": 1, "level": "INFO", "message": "x"}', "[1]"])
def test_other_lines_stay_as_they_are(line: str):
    assert readable(line) == line
