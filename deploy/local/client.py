"""The demo's caller: fal's own, unmodified Python client, told to call this system over plain http.

Everything goes through it but the look at the progress, a field that fal's answers do not have.
"""

import json
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fal_client
import fal_client.client as addresses
import httpx

ENDPOINT = "fal-ai/kolors/image-to-image"
APP = "fal-ai/kolors"
LOOK_S = 0.1


class DemoFailed(Exception):
    """The demo cannot go on; the message is for its user."""


@dataclass(frozen=True)
class Watched:
    """How far a request is: the stage's name, the whole's part in 0…1, and a few words."""

    stage: str
    part: float
    text: str


@dataclass(frozen=True)
class Output:
    links: list[str]
    timings: dict[str, float]
    seed: int


class Client:
    """Calls the system at `url` with the first of the environment's API_KEYS, or with any key where there are none."""

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self._url = url
        self._key = environment.get("API_KEYS", "").split(",")[0].strip() or "demo:demo"
        addresses.QUEUE_URL_FORMAT = f"{url}/"
        addresses.RUN_URL_FORMAT = f"{url}/run/"
        addresses.REST_URL = addresses.CDN_URL = url
        self._fal = fal_client.SyncClient(key=self._key)

    def upload(self, picture: Path) -> str:
        """The link under which the system now has the picture."""
        return self._fal.upload_file(picture)  # pyright: ignore[reportUnknownMemberType]

    def submit(self, arguments: dict[str, Any]) -> str:
        """The request's id."""
        return self._fal.submit(ENDPOINT, arguments=arguments).request_id

    def watch(self, request: str) -> Iterator[Watched]:
        """Looks until the request is completed, however it ends."""
        while True:
            status = self._status(request)
            if status["status"] == "IN_QUEUE":
                yield Watched("in the queue", 0.02, f"queued, {status['queue_position']} before it")
            elif status["status"] == "IN_PROGRESS":
                yield _running(status)
            else:
                return
            time.sleep(LOOK_S)

    def result(self, request: str) -> Output:
        """Raises `DemoFailed` with what the system says about a request that failed."""
        try:
            output = self._fal.result(ENDPOINT, request)
        except (fal_client.FalClientError, httpx.HTTPStatusError) as error:
            raise DemoFailed(f"the request failed: {error}") from error
        return Output([image["url"] for image in output["images"]], output["timings"], output["seed"])

    def fetch(self, link: str) -> bytes:
        """What lies behind a link, fetched as anybody does: without a key."""
        with urllib.request.urlopen(link, timeout=60) as answer:
            return bytes(answer.read())

    def _status(self, request: str) -> dict[str, Any]:
        call = urllib.request.Request(f"{self._url}/{APP}/requests/{request}/status")
        call.add_header("Authorization", f"Key {self._key}")
        with urllib.request.urlopen(call, timeout=30) as answer:
            status: dict[str, Any] = json.loads(answer.read())
        return status


def _running(status: Mapping[str, Any]) -> Watched:
    progress = status.get("progress")
    if not progress:
        return Watched("being worked on", 0.05, "fetching and preparing")
    step, steps = progress["step"], max(progress["steps"], 1)
    return Watched("being worked on", 0.05 + 0.9 * step / steps, f"step {step} of {steps}")
