"""fal's Python client, unmodified, over plain http by its own module's globals: what a program sees of a request."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fal_client
import fal_client.client as client_module
import pytest

from tests.acceptance.harness.caller import ENDPOINT, KEY, Caller, arguments, long_arguments, running
from tests.acceptance.harness.pictures import bytes_at, encoded, photo, picture_at
from tests.acceptance.harness.receiver import Receiver
from tests.acceptance.harness.server import Server
from tests.acceptance.harness.waiting import Stopwatch


@pytest.fixture(scope="module")
def fal(server: Server) -> Iterator[fal_client.SyncClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "RUN_URL_FORMAT", f"{server.url}/run/")
        patch.setattr(client_module, "QUEUE_URL_FORMAT", f"{server.url}/")
        client = fal_client.SyncClient(key=KEY)
        yield client
        client._client.close()  # pyright: ignore[reportPrivateUsage]


def test_run_returns_a_picture(fal: fal_client.SyncClient) -> None:
    output = fal.run(ENDPOINT, arguments(num_images=2))

    assert [picture_at(image["url"]).size for image in output["images"]] == [(64, 64), (64, 64)]
    assert output["prompt"] == arguments()["prompt"]
    assert output["seed"] == 7
    assert output["has_nsfw_concepts"] == [False, False]
    assert output["timings"]["inference"] > 0
    assert all(value is not None for image in output["images"] for value in image.values())


def test_the_path_may_be_given_apart(fal: fal_client.SyncClient) -> None:
    output = fal.run("fal-ai/kolors", arguments(), path="/image-to-image")

    assert len(output["images"]) == 1


def test_submit_names_addresses_on_this_server(fal: fal_client.SyncClient, server: Server) -> None:
    handle = fal.submit(ENDPOINT, arguments())

    address = f"{server.url}/fal-ai/kolors/requests/{handle.request_id}"
    assert handle.response_url == address
    assert handle.status_url == f"{address}/status"
    assert handle.cancel_url == f"{address}/cancel"
    assert handle.get()["seed"] == 7


def test_status_carries_logs_only_when_asked(fal: fal_client.SyncClient) -> None:
    handle = fal.submit(ENDPOINT, arguments())
    handle.get()

    bare = handle.status()
    logged = handle.status(with_logs=True)

    assert isinstance(bare, fal_client.Completed)
    assert bare.logs is None
    assert bare.metrics["inference_time"] > 0
    assert bare.error is None
    assert isinstance(logged, fal_client.Completed)
    assert logged.logs
    assert all(entry["message"] and entry["timestamp"] and entry["level"] for entry in logged.logs)
    assert all(entry["labels"]["level"] == entry["level"] for entry in logged.logs)
    assert handle.status() == bare
    assert handle.status(with_logs=True) == logged


def test_iter_events_goes_from_the_queue_to_completion(fal: fal_client.SyncClient) -> None:
    handle = fal.submit(ENDPOINT, long_arguments(num_inference_steps=25))

    events = list(handle.iter_events(with_logs=True, interval=0.02))

    kinds = list(dict.fromkeys(type(event) for event in events))
    assert kinds in (
        [fal_client.Queued, fal_client.InProgress, fal_client.Completed],
        [fal_client.InProgress, fal_client.Completed],
    )
    grown = [len(event.logs or []) for event in events if isinstance(event, fal_client.InProgress)]
    assert grown == sorted(grown)
    assert grown[-1] > 0


def test_subscribe_reports_updates_and_returns_the_output(fal: fal_client.SyncClient) -> None:
    updates: list[fal_client.Status] = []
    ids: list[str] = []

    output = fal.subscribe(
        ENDPOINT,
        long_arguments(num_inference_steps=15),
        with_logs=True,
        interval=0.02,
        on_enqueue=ids.append,
        on_queue_update=updates.append,
    )

    messages = [
        entry["message"]
        for update in updates
        if isinstance(update, fal_client.InProgress)
        for entry in update.logs or []
    ]
    assert messages
    assert isinstance(updates[-1], fal_client.Completed)
    assert picture_at(output["images"][0]["url"]).size == (256, 256)
    assert fal.result(ENDPOINT, ids[0]) == output


def test_a_request_is_found_by_its_id_alone(fal: fal_client.SyncClient) -> None:
    handle = fal.submit(ENDPOINT, arguments())

    assert fal.result(ENDPOINT, handle.request_id)["seed"] == 7
    assert isinstance(fal.status(ENDPOINT, handle.request_id), fal_client.Completed)


def test_cancelling_a_running_request_stops_it(fal: fal_client.SyncClient, caller: Caller) -> None:
    with running(caller) as id:
        watch = Stopwatch()
        fal.cancel(ENDPOINT, id)
        caller.await_status(id, "COMPLETED", within_s=10)
        assert watch.seconds < 10

        status = fal.status(ENDPOINT, id)
        assert isinstance(status, fal_client.Completed)
        assert status.error_type == "client_cancelled"
        with pytest.raises(fal_client.FalClientHTTPError) as refused:
            fal.result(ENDPOINT, id)
        assert refused.value.status_code == 499
        assert refused.value.error_type == "client_cancelled"
        assert refused.value.message == "Request was cancelled"


def test_cancelling_what_is_done_or_unknown_is_refused(fal: fal_client.SyncClient) -> None:
    handle = fal.submit(ENDPOINT, arguments())
    handle.get()

    with pytest.raises(fal_client.FalClientHTTPError) as late:
        handle.cancel()
    with pytest.raises(fal_client.FalClientHTTPError) as lost:
        fal.cancel(ENDPOINT, "0197d2f4-5b2a-7000-8000-000000000000")

    assert (late.value.status_code, late.value.response.json()) == (400, {"status": "ALREADY_COMPLETED"})
    assert (lost.value.status_code, lost.value.response.json()) == (404, {"status": "NOT_FOUND"})


def test_a_client_timeout_takes_the_request_back(fal: fal_client.SyncClient, caller: Caller) -> None:
    with pytest.raises(fal_client.FalClientTimeoutError) as expired:
        fal.subscribe(ENDPOINT, long_arguments(), client_timeout=1.5)

    assert expired.value.request_id
    body = caller.await_status(expired.value.request_id, "COMPLETED", within_s=15)
    assert body["error_type"] in {"client_cancelled", "request_timeout"}


@pytest.mark.parametrize("way", ["queue", "run"])
def test_a_bad_field_is_a_422_with_its_name(fal: fal_client.SyncClient, way: str) -> None:
    bad = arguments(strength=3, prompt=None)

    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        fal.run(ENDPOINT, bad) if way == "run" else fal.subscribe(ENDPOINT, bad)

    assert refused.value.status_code == 422
    problems = {tuple(item["loc"]): item["type"] for item in refused.value.response.json()["detail"]}
    assert refused.value.message == refused.value.response.json()["detail"]
    assert problems == {("body", "strength"): "less_than_equal", ("body", "prompt"): "missing"}


def test_a_refused_input_is_a_completed_request(fal: fal_client.SyncClient) -> None:
    handle = fal.submit(ENDPOINT, arguments(strength=3))

    status = handle.status()

    assert isinstance(status, fal_client.Completed)
    assert status.error


def test_options_are_accepted(fal: fal_client.SyncClient, receiver: Receiver) -> None:
    hook = receiver.hook()

    handle = fal.submit(
        ENDPOINT,
        arguments(),
        hint="warm-runner",
        priority="low",
        start_timeout=30,
        webhook_url=hook,
        headers={"X-Fal-Store-IO": "0", "X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": 3600}'},
    )

    assert handle.get()["seed"] == 7
    assert receiver.await_posts(hook)


def test_there_is_no_streaming_of_this_model(fal: fal_client.SyncClient, caller: Caller) -> None:
    answer = caller.call("POST", f"/run/{ENDPOINT}/stream", json=arguments())

    assert (answer.status_code, answer.json()) == (404, {"detail": "Path /stream not found"})


def test_encoded_pictures_are_inputs(fal: fal_client.SyncClient) -> None:
    uris = [
        fal_client.encode_image(photo(), "png"),
        fal_client.encode_image(photo()),
        fal_client.encode(encoded(photo()), "image/png"),
    ]

    outputs = [fal.run(ENDPOINT, arguments(image_url=uri)) for uri in uris]

    assert [output["images"][0]["width"] for output in outputs] == [64, 64, 64]


def test_uploads_by_the_modules_globals(server: Server) -> None:
    """In a process of its own, as users run it: the client never closes the connections of its uploads."""
    program = Path(__file__).parent / "programs" / "plain_http.py"
    run = subprocess.run(
        [sys.executable, program, server.url],
        env={"PATH": os.environ["PATH"], "FAL_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    links: list[str] = json.loads(run.stdout)
    assert len({bytes_at(link) for link in links}) == 1


async def test_the_asynchronous_client_does_the_same(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "RUN_URL_FORMAT", f"{server.url}/run/")
    monkeypatch.setattr(client_module, "QUEUE_URL_FORMAT", f"{server.url}/")
    fal = fal_client.AsyncClient(key=KEY)

    direct = await fal.run(ENDPOINT, arguments())
    handle = await fal.submit(ENDPOINT, arguments())
    events = [event async for event in handle.iter_events(with_logs=True, interval=0.02)]
    queued = await handle.get()
    long = await fal.submit(ENDPOINT, long_arguments())
    await long.cancel()
    async for _ in long.iter_events(interval=0.05):
        pass
    with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
        await long.get()
    with pytest.raises(fal_client.FalClientTimeoutError):
        await fal.subscribe(ENDPOINT, long_arguments(), client_timeout=1.5)
    await (await fal._client).aclose()  # pyright: ignore[reportPrivateUsage]

    assert isinstance(events[-1], fal_client.Completed)
    assert cancelled.value.status_code == 499
    assert direct["seed"] == queued["seed"] == 7


def test_many_callers_at_once(fal: fal_client.SyncClient) -> None:
    sizes = [(64, 64), (128, 64), (96, 128)]
    wanted = [
        arguments(
            seed=k,
            image_size={"width": sizes[k % 3][0], "height": sizes[k % 3][1]},
            num_inference_steps=3 + k % 5,
            guidance_scale=1 + k % 4,
            output_format="jpeg" if k % 2 else "png",
            strength=[0.3, 0.7, 1.0][k % 3],
            num_images=1 + k % 2,
        )
        for k in range(24)
    ]

    def call(k: int) -> dict[str, Any]:
        return fal.subscribe(ENDPOINT, wanted[k]) if k % 3 else fal.run(ENDPOINT, wanted[k])

    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(call, range(len(wanted))))

    for k, output in enumerate(outputs):
        assert output["seed"] == k
        assert len(output["images"]) == 1 + k % 2
        assert (output["images"][0]["width"], output["images"][0]["height"]) == sizes[k % 3]
