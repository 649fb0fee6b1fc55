"""Previews on the wire: in status and stream, for whoever asks, while the request runs."""

import json
from typing import Any

import httpx

from shared.queue.records import Preview
from tests.integration.api.worker import Hand

INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}
URL = "data:image/webp;base64,AAAA"


def submit(client: httpx.Client) -> str:
    return client.post("/fal-ai/kolors/image-to-image", json=INPUT).json()["status_url"]


def test_a_poll_has_the_newest_preview_if_it_asks_while_there_is_one(client: httpx.Client, hand: Hand) -> None:
    url = submit(client)

    def asked(**query: str) -> dict[str, Any]:
        return client.get(url, params=query).json()

    attempt = hand.claim()
    assert "preview" not in asked(previews="1")
    hand.show(attempt, Preview(3, URL))
    assert asked(previews="1")["preview"] == {"step": 3, "url": URL}
    assert "preview" not in asked()
    assert "preview" not in asked(previews="0")
    hand.finish(attempt)
    assert asked(previews="1") == asked()


def test_a_stream_has_each_with_the_line_that_follows_it(client: httpx.Client, hand: Hand) -> None:
    url = submit(client)
    attempt = hand.claim()
    with client.stream("GET", f"{url}/stream", params={"previews": "1"}) as response:
        statuses = (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: "))
        assert [next(statuses)["status"], next(statuses)["status"]] == ["IN_QUEUE", "IN_PROGRESS"]
        for step in (1, 2):
            hand.show(attempt, Preview(step, f"{URL}{step}"))
            hand.report(attempt, step)
            assert next(statuses)["preview"] == {"step": step, "url": f"{URL}{step}"}
        hand.finish(attempt)
        assert ["preview" in status for status in statuses] == [False]
