"""Lines of several programs on one terminal."""

import io

from deploy.local.terminal import Terminal


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
