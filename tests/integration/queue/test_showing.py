"""Previews of running requests: kept one at a time, only from whoever holds the request, and gone with its attempt."""

from collections.abc import Callable

import pytest

from shared.queue import commands
from shared.queue.records import Held, Preview
from tests.integration.queue.line import PASSING, Line

FIRST, SECOND = Preview(1, "data:image/webp;base64,AAAA"), Preview(2, "data:image/webp;base64,BBBB")


@pytest.fixture
def line(redis_url: str) -> Line:
    return Line(redis_url)


def shown(line: Line, id: str) -> Preview | None:
    return line.do(commands.preview(id))


def test_the_newest_replaces_the_one_before(line: Line) -> None:
    line.submit("a")
    held = line.take()
    assert shown(line, "a") is None
    for preview in (FIRST, SECOND):
        assert line.do(commands.show(held, preview))
        assert shown(line, "a") == preview
    line.finish(held)


def lost(line: Line, _: Held) -> None:
    line.lapse("a")
    line.bury()
    line.rescue()


ENDINGS: dict[str, Callable[[Line, Held], object]] = {
    "finished": lambda line, held: line.finish(held),
    "to be tried again": lambda line, held: line.finish(held, PASSING),
    "released": lambda line, held: line.release(held),
    "lost": lost,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_it_goes_when_the_attempt_ends_and_does_not_come_back(line: Line, ending: str) -> None:
    line.submit("a")
    held = line.take()
    line.do(commands.show(held, FIRST))
    ENDINGS[ending](line, held)
    assert shown(line, "a") is None
    assert not line.do(commands.show(held, SECOND))
    assert shown(line, "a") is None


def test_only_who_holds_it_shows_it(line: Line) -> None:
    line.submit("a")
    held = line.take()
    assert not line.do(commands.show(Held("a", held.number, "another claim"), FIRST))
    assert not line.do(commands.show(Held("nothing", 1, "claim"), FIRST))
    assert shown(line, "a") is None
    assert shown(line, "nothing") is None
    line.finish(held)
