"""Prometheus metrics that both processes share: buckets, the HTTP histogram, the text that a scrape gets.

Knows no Redis: gauges of the queue are set by whoever read it.
"""

from collections.abc import Mapping
from typing import cast

from prometheus_client import CollectorRegistry, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
"""For answers of a server."""
SLOW_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
"""For the stages of a picture."""


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})


def text(registry: CollectorRegistry) -> bytes:
    """What a scrape gets, of type `CONTENT_TYPE`."""
    return generate_latest(registry)


class HttpMetrics:
    """Durations of HTTP answers by method, handler and status. Unknown paths count as one handler."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "kolors_http_seconds",
            "Time from a call's headers to the end of its answer",
            ("method", "route", "status"),
            buckets=FAST_S,
            registry=registry,
        )
        self._children: dict[tuple[str, str, int], Histogram] = {}

    def observe(self, scope: Mapping[str, object], status: int, seconds: float) -> None:
        method = cast("str", scope["method"])
        route = cast("str", getattr(scope.get("endpoint"), "__name__", "other"))
        key = (method if method in _METHODS else "other", route, status)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self._seconds.labels(*key)
        child.observe(seconds)
