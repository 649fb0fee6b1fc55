"""The status stream over the wire: order, resumption, silence, and every way it ends."""

import json
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from api.settings import ApiSettings
from shared.queue.connect import open_sync
from tests.conftest import Valkey
from tests.integration.api.live import live, wired
from tests.integration.api.worker import Hand

ENDPOINT = "/fal-ai/kolors/image-to-image"
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}


class Reader:
    """Takes a stream apart as it comes: comments are counted, events are (id, status)."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def events(self) -> Iterator[tuple[str | None, dict[str, Any]]]:
        for kind, id_, status in self.parts():
            if kind == "event":
                yield id_, status

    def parts(self) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
        id_: str | None = None
        for line in self._lines:
            if line.startswith(":"):
                yield "comment", None, {}
            elif line.startswith("id: "):
                id_ = line[4:]
            elif line.startswith("data: "):
                yield "event", id_, json.loads(line[6:])
                id_ = None


@contextmanager
def _stream(client: httpx.Client, url: str, last: str | None = None, logs: str = "1") -> Generator[Reader]:
    headers = {"Accept": "application/json, text/event-stream"} | ({"Last-Event-ID": last} if last else {})
    with client.stream("GET", f"{url}/stream", params={"logs": logs}, headers=headers) as response:
        yield Reader(response)


def _submit(client: httpx.Client) -> dict[str, Any]:
    return client.post(ENDPOINT, json=INPUT).json()


def test_a_whole_life_as_events(client: httpx.Client, hand: Hand) -> None:
    receipt = _submit(client)
    with _stream(client, receipt["status_url"]) as stream:
        assert stream.response.status_code == 200
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        assert stream.response.headers["x-fal-request-id"] == receipt["request_id"]
        events = stream.events()
        first = next(events)[1]
        assert (first["status"], first["queue_position"], first["logs"]) == ("IN_QUEUE", 0, None)
        attempt = hand.claim()
        assert next(events)[1]["status"] == "IN_PROGRESS"
        for step in (1, 2):
            hand.report(attempt, step, f"step {step}")
            status = next(events)[1]
            assert [line["message"] for line in status["logs"]] == [f"step {step}"]  # new ones only
            assert status["progress"]["step"] == step
        hand.finish(attempt)
        last = next(events)[1]
        assert (last["status"], last["metrics"]["inference_time"]) == ("COMPLETED", 1.5)
        assert last["logs"] == []
        assert list(events) == []  # the server closes
    assert last | {"logs": None} == client.get(receipt["status_url"]).json()


def test_a_reader_who_resumes_misses_nothing_and_gets_nothing_twice(client: httpx.Client, hand: Hand) -> None:
    url = _submit(client)["status_url"]
    attempt = hand.claim()
    for step in range(1, 6):
        hand.report(attempt, step)
    hand.finish(attempt)
    with _stream(client, url) as stream:
        whole = list(stream.events())
    ids = [id_ for id_, _ in whole]
    assert len(set(ids)) == len(ids) >= 8
    for cut in range(1, len(ids)):
        with _stream(client, url, last=ids[cut - 1]) as stream:
            assert list(stream.events()) == whole[cut:]
    with _stream(client, url, last=ids[-1]) as stream:
        assert stream.response.status_code == 204
    with _stream(client, url, last="nonsense") as stream:
        assert list(stream.events()) == whole


def test_without_logs_there_are_none(client: httpx.Client, hand: Hand) -> None:
    url = _submit(client)["status_url"]
    attempt = hand.claim()
    hand.report(attempt, 1, "secret")
    hand.finish(attempt)
    with _stream(client, url, logs="0") as stream:
        assert all(status["logs"] is None for _, status in stream.events())


def test_silence_is_broken_and_a_new_position_is_told(client: httpx.Client, hand: Hand) -> None:
    _submit(client)
    receipt = _submit(client)
    with _stream(client, receipt["status_url"]) as stream:
        parts = stream.parts()
        assert next(parts)[2]["queue_position"] == 1
        assert next(parts)[0] == "comment"
        hand.claim()  # the one ahead
        moved = next(part for part in parts if part[0] == "event")
        assert moved[1] is None  # no entry of the history, so nothing to resume from
        assert moved[2]["queue_position"] == 0


def test_a_request_that_vanishes_ends_its_stream(client: httpx.Client, redis_url: str) -> None:
    receipt = _submit(client)
    redis = open_sync(redis_url)
    with _stream(client, receipt["status_url"]) as stream:
        events = stream.events()
        next(events)
        redis.execute_command("FLUSHALL")
        assert list(events) == []
    redis.close()


def test_a_head_of_a_stream_ends_at_once(client: httpx.Client) -> None:
    url = _submit(client)["status_url"]
    answer = client.head(f"{url}/stream")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_many_readers_of_one_request(client: httpx.Client, hand: Hand) -> None:
    url = _submit(client)["status_url"]
    last: list[str] = []
    began = threading.Barrier(13)

    def read() -> None:
        with _stream(client, url) as stream:
            events = stream.events()
            next(events)
            began.wait(20)
            last.append([status["status"] for _, status in events][-1])

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    began.wait(20)
    hand.finish(hand.claim())
    for thread in threads:
        thread.join(20)
    assert last == ["COMPLETED"] * 12


def test_a_stream_ends_at_shutdown(keyed: ApiSettings) -> None:
    ended = threading.Event()
    first = threading.Event()

    def read(url: str) -> None:
        with httpx.Client(base_url=url, headers={"Authorization": "Key id:secret"}, trust_env=False) as client:
            with _stream(client, _submit(client)["status_url"]) as stream:
                for _ in stream.events():
                    first.set()
            ended.set()

    with live(keyed) as url:
        thread = threading.Thread(target=read, args=(url,))
        thread.start()
        assert first.wait(20)
    assert ended.wait(20)
    thread.join(20)


@pytest.mark.timeout(60)
def test_a_stream_outlives_a_restart_of_redis(client: httpx.Client, hand: Hand, valkey: Valkey) -> None:
    receipt = _submit(client)
    with _stream(client, receipt["status_url"]) as stream:
        parts = stream.parts()
        next(parts)
        valkey.kill()
        try:
            assert client.get(receipt["status_url"]).status_code == 503
        finally:
            valkey.start()
        attempt = hand.claim()
        hand.finish(attempt)
        statuses = [status["status"] for kind, _, status in parts if kind == "event"]
    assert statuses == ["IN_PROGRESS", "COMPLETED"]


def test_a_redis_that_is_slow_to_listen_costs_a_stream_nothing(
    client: httpx.Client, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.queue.pokes._CONFIRM_S", 0)
    receipt = _submit(client)
    with _stream(client, receipt["status_url"]) as one, _stream(client, receipt["status_url"]) as other:
        streams = [one.events(), other.events()]
        for events in streams:
            next(events)
        hand.finish(hand.claim())
        told = [[status["status"] for _, status in events] for events in streams]
    assert told == [["IN_PROGRESS", "COMPLETED"]] * 2


async def test_an_end_between_two_looks_is_told_with_its_history(
    keyed: ApiSettings, valkey: Valkey, hand: Hand
) -> None:
    """The stream asks for new events, there are none; until it asks for the state, the request has run and ended."""
    headers = {"Authorization": "Key id:secret"}
    async with (
        wired(keyed, valkey) as (base, board),
        httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=30) as client,
    ):
        url = (await client.post(ENDPOINT, json=INPUT)).json()["status_url"]
        async with client.stream("GET", f"{url}/stream") as answer:
            none = await board.catch("events", answered=True, within_s=20, fits=lambda _, found: found == [])
            hand.finish(hand.claim())
            none.let_go()
            lines = [line async for line in answer.aiter_lines()]
    told = [json.loads(line[6:])["status"] for line in lines if line.startswith("data: ")]
    assert told == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert sum(line.startswith("id: ") for line in lines) == 3
