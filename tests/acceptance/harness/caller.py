"""A plain HTTP caller of the endpoint, for what the clients of fal do not show: status codes, headers, raw bodies."""

import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from tests.acceptance.harness.pictures import photo_uri
from tests.acceptance.harness.waiting import until

APP = "fal-ai/kolors"
ENDPOINT = f"{APP}/image-to-image"
KEY = "acceptance:secret"

MIDDLING = {"width": 256, "height": 256}
"""A step takes some hundredths of a second."""
FLOOD = 8
"""Requests of eight pictures each: more than any worker of these tests takes at a time."""

T = TypeVar("T")

Arguments = dict[str, Any]


def arguments(**changes: object) -> Arguments:
    """A small, quick and repeatable request; `changes` with the value None take a field out."""
    whole: Arguments = {
        "prompt": "a capybara in sunglasses",
        "image_url": photo_uri(),
        "num_inference_steps": 4,
        "strength": 0.5,
        "seed": 7,
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def long_arguments(**changes: object) -> Arguments:
    """Runs for many seconds on the random model, one short step after the other."""
    return arguments(**{"num_inference_steps": 150, "strength": 1.0, "image_size": MIDDLING, **changes})


class Caller:
    """Calls one server under one key. Every answer is checked for what all answers must have."""

    def __init__(self, url: str, *, key: str | None = KEY, ca_file: str | None = None) -> None:
        headers = {"Authorization": f"Key {key}"} if key else {}
        self.url = url
        self.http = httpx.Client(base_url=url, headers=headers, timeout=60, verify=trust(ca_file), trust_env=False)

    def close(self) -> None:
        self.http.close()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self.http.request(method, path, **options)
        assert response.headers.get("x-fal-request-id"), f"{method} {path}: no x-fal-request-id"
        return response

    def run(self, asked: Arguments, **options: Any) -> httpx.Response:
        return self.call("POST", f"/run/{ENDPOINT}", json=asked, **options)

    def submit(self, asked: Arguments, **options: Any) -> str:
        """The request id of an accepted submission."""
        response = self.call("POST", f"/{ENDPOINT}", json=asked, **options)
        assert response.status_code == 200, response.text
        return str(response.json()["request_id"])

    def status(self, id: str, *, logs: bool = False) -> httpx.Response:
        return self.call("GET", f"/{APP}/requests/{id}/status", params={"logs": int(logs)})

    def result(self, id: str) -> httpx.Response:
        return self.call("GET", f"/{APP}/requests/{id}")

    def cancel(self, id: str) -> httpx.Response:
        return self.call("PUT", f"/{APP}/requests/{id}/cancel")

    def await_status(self, id: str, *wanted: str, within_s: float = 30) -> dict[str, Any]:
        """The first status body whose status is one of `wanted`."""

        def reached() -> dict[str, Any] | None:
            body = self.status(id, logs=True).json()
            return body if body["status"] in wanted else None

        return until(reached, within_s=within_s, what=f"request {id} is {' or '.join(wanted)}")

    def finish(self, id: str, *, within_s: float = 60) -> httpx.Response:
        """The result's answer, once the request is completed."""
        self.await_status(id, "COMPLETED", within_s=within_s)
        return self.result(id)

    def complete(self, asked: Arguments, **options: Any) -> dict[str, Any]:
        """Submits, waits and returns the output of a request that must succeed."""
        response = self.finish(self.submit(asked, **options))
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def running(caller: Caller, **changes: object) -> Generator[str]:
    """A long request that is being worked on while the block runs, and is gone after it."""
    id = caller.submit(long_arguments(**changes))
    try:
        caller.await_status(id, "IN_PROGRESS")
        yield id
    finally:
        cancelled(caller, id)


@contextmanager
def flooded(caller: Caller) -> Generator[list[str]]:
    """A queue in which nothing new is started while the block runs: the workers are full, and others wait before it."""
    ids = [caller.submit(long_arguments(num_images=8, image_size="square")) for _ in range(FLOOD)]
    try:
        caller.await_status(ids[0], "IN_PROGRESS")
        assert caller.status(ids[-1]).json()["status"] == "IN_QUEUE"
        yield ids
    finally:
        cancelled(caller, *reversed(ids))


def cancelled(caller: Caller, *ids: str) -> None:
    """Takes requests back and waits until none is left over."""
    for id in ids:
        caller.cancel(id)
    for id in ids:
        caller.await_status(id, "COMPLETED")


def only(items: Sequence[T]) -> T:
    assert len(items) == 1, items
    return items[0]


def trust(ca_file: str | None) -> ssl.SSLContext:
    """The usual authorities, or one private one alone."""
    return ssl.create_default_context(cafile=ca_file)
