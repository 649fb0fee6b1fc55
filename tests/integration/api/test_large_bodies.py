"""Bodies that are large, slow or many: pictures come through whole, and nothing takes the room of everybody."""

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from api import body
from api.settings import ApiSettings
from shared.files.open import open_store
from tests.integration.api.live import live
from tests.integration.api.worker import Hand

ENDPOINT = "/fal-ai/kolors/image-to-image"
MIB = 1024 * 1024
INPUT = {"prompt": "p", "image_url": "https://example.com/a.png"}


@pytest.fixture
def roomy(keyed: ApiSettings) -> ApiSettings:
    sizes = {"max_body_bytes": 6 * MIB, "max_bodies_bytes": 16 * MIB, "max_download_bytes": 4 * MIB}
    return keyed.model_copy(update={**sizes, "max_upload_bytes": 6 * MIB, "max_uploads_bytes": 16 * MIB})


@pytest.fixture
def client(roomy: ApiSettings) -> Iterator[httpx.Client]:
    key = {"Authorization": "Key id:secret"}
    with live(roomy) as url, httpx.Client(base_url=url, headers=key, trust_env=False, timeout=60) as caller:
        yield caller


def _sending(client: httpx.Client, sent: bytes, announced: int, path: str = ENDPOINT) -> socket.socket:
    """A call that has got as far as `sent`."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=30)
    lines = [f"POST {path} HTTP/1.1", "Host: a", "Authorization: Key id:secret", f"Content-Length: {announced}"]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + sent)
    return connection


@pytest.mark.parametrize("escaped", [False, True], ids=["plain", "as PHP writes it"])
def test_a_large_picture_in_a_body_arrives_whole(
    client: httpx.Client, hand: Hand, roomy: ApiSettings, escaped: bool
) -> None:
    content = os.urandom(3 * MIB)
    text = json.dumps({"image_url": "data:image/png;base64," + base64.b64encode(content).decode(), "prompt": "p"})
    for _ in range(3):  # together they are more than there is room for: it is given back
        answer = client.post(ENDPOINT, content=text.replace("/", "\\/") if escaped else text)
        assert answer.status_code == 200
        key = hand.claim().image_key
        assert key is not None
        assert b"".join(open_store(roomy).read(key)) == content


def test_a_large_body_that_is_no_picture_is_too_large(client: httpx.Client, hand: Hand) -> None:
    keys = ",".join(f'"{number}":1' for number in range(200_000))

    answer = client.post(ENDPOINT, content=f'{{"prompt":"p","image_url":"https://example.com/a.png",{keys}}}')

    assert (answer.status_code, answer.json()["error_type"]) == (413, "bad_request")
    with pytest.raises(AssertionError, match="nothing to claim"):
        hand.claim()


def test_a_large_picture_that_is_none_fails_its_request(client: httpx.Client) -> None:
    for content, kind in (("!" * 2 * MIB, "image_load_error"), ("QUJD" * (3 * MIB // 2), "file_too_large")):
        url = f"data:image/png;base64,{content}"
        receipt = client.post(ENDPOINT, json=INPUT | {"image_url": url[: 6 * MIB - 100]}).json()
        (item,) = client.get(receipt["response_url"]).json()["detail"]
        assert (item["loc"], item["type"]) == (["body", "image_url"], kind)


def test_bodies_of_one_key_may_not_take_all_the_room(client: httpx.Client) -> None:
    with ExitStack() as stack:
        deadline = time.monotonic() + 30
        while (answer := client.post(ENDPOINT, json=INPUT)).status_code == 200:
            assert time.monotonic() < deadline, "there is room for any number of bodies"
            stack.enter_context(_sending(client, b" " * (4 * MIB - 2), 5 * MIB))
            time.sleep(0.1)  # until it has all come: our next small one could take the room of its last piece
        assert (answer.status_code, answer.json()["error_type"]) == (503, "runner_scheduling_failure")
        assert answer.headers["retry-after"]
        assert client.post("/storage/upload/initiate", json={"file_name": "a"}).status_code == 503
        assert client.get("/health").status_code == 200
        assert client.post(ENDPOINT, json=INPUT, headers={"Authorization": "Key other:secret"}).status_code == 200
    while client.post(ENDPOINT, json=INPUT).status_code != 200:
        assert time.monotonic() < deadline, "the room of those who left was not given back"


def test_uploads_of_one_key_may_not_take_all_the_room_either(client: httpx.Client) -> None:
    upload = partial(client.post, "/files/upload", content=bytes(1024))
    with ExitStack() as stack:
        deadline = time.monotonic() + 30
        while (answer := upload()).status_code == 200:
            assert time.monotonic() < deadline, "there is room for any number of uploads"
            stack.enter_context(_sending(client, b" " * (4 * MIB - 2), 5 * MIB, "/files/upload"))
            time.sleep(0.1)
        assert answer.status_code == 503
        assert upload(headers={"Authorization": "Key other:secret"}).status_code == 200
        assert client.post(ENDPOINT, json=INPUT).status_code == 200, "there is room for what is no upload"
    while upload().status_code != 200:
        assert time.monotonic() < deadline, "the room of those who left was not given back"


@pytest.mark.parametrize(
    ("path", "came"),
    [
        (ENDPOINT, 1),
        (ENDPOINT, 4 * MIB),
        (f"/run{ENDPOINT}", 4 * MIB),
        ("/files/upload", 1),
        ("/files/upload", 4 * MIB),
        ("/storage/upload/initiate", 1),
    ],
)
def test_a_body_that_does_not_come_is_given_up(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, path: str, came: int
) -> None:
    monkeypatch.setattr(body, "_PATIENCE_S", 0.5)
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=30) as connection:
        lines = [f"POST {path} HTTP/1.1", "Host: a", "Authorization: Key id:secret", f"Content-Length: {came + 9}"]
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"{" * came)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 408 ")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error_type"] == "bad_request"
