"""Two web servers for each test."""

from collections.abc import Iterator

import pytest

from tests.integration.egress.web import WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.fixture
def other() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()
