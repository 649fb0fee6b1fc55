"""A queue on a real Valkey, with time in the tests' hands: it passes by rewriting what Redis compares to now."""

from collections.abc import Iterator

import pytest

from tests.integration.queue.line import Line


@pytest.fixture
def line(redis_url: str) -> Iterator[Line]:
    line = Line(redis_url)
    yield line
    line.redis.close()
