"""Everything that may be wrong with a call: fal's error type and place for each kind, never a 5xx, and work goes on."""

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.acceptance.harness.caller import ENDPOINT, Caller, arguments
from tests.acceptance.harness.pictures import data_uri, encoded, photo, photo_uri
from tests.acceptance.harness.receiver import Page, Receiver
from tests.acceptance.harness.server import Server

DEEP = "[" * 100_000

FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": None}, "prompt", "missing"),
    ({"image_url": None}, "image_url", "missing"),
    ({"prompt": 5}, "prompt", "string_type"),
    ({"prompt": ["a"]}, "prompt", "string_type"),
    ({"prompt": "a" * 1_000_000}, "prompt", "sequence_too_long"),
    ({"negative_prompt": {"a": 1}}, "negative_prompt", "string_type"),
    ({"image_url": 7}, "image_url", "string_type"),
    ({"guidance_scale": 0.99}, "guidance_scale", "greater_than_equal"),
    ({"guidance_scale": 10.01}, "guidance_scale", "less_than_equal"),
    ({"guidance_scale": "high"}, "guidance_scale", "float_parsing"),
    ({"num_inference_steps": 0}, "num_inference_steps", "greater_than_equal"),
    ({"num_inference_steps": 151}, "num_inference_steps", "less_than_equal"),
    ({"num_inference_steps": 2.5}, "num_inference_steps", "int_from_float"),
    ({"num_inference_steps": 10**30}, "num_inference_steps", "less_than_equal"),
    ({"strength": 0}, "strength", "greater_than_equal"),
    ({"strength": -1}, "strength", "greater_than_equal"),
    ({"strength": 1.0001}, "strength", "less_than_equal"),
    ({"strength": [0.5]}, "strength", "float_type"),
    ({"num_images": 0}, "num_images", "greater_than_equal"),
    ({"num_images": 9}, "num_images", "less_than_equal"),
    ({"seed": "lucky"}, "seed", "int_parsing"),
    ({"seed": 1.5}, "seed", "int_from_float"),
    ({"seed": 10**40}, "seed", "less_than_equal"),
    ({"scheduler": "euler"}, "scheduler", "one_of"),
    ({"output_format": "gif"}, "output_format", "one_of"),
    ({"image_size": "huge"}, "image_size", "one_of"),
    ({"image_size": {"width": 0, "height": 64}}, "image_size.width", "greater_than"),
    ({"image_size": {"width": 64, "height": 14143}}, "image_size.height", "less_than_equal"),
    ({"image_size": {"width": "wide"}}, "image_size.width", "int_parsing"),
    ({"image_size": {"width": 8, "height": 8}}, "image_size", "image_too_small"),
    ({"image_size": {"width": 14142, "height": 14142}}, "image_size", "image_too_large"),
    ({"sync_mode": "perhaps"}, "sync_mode", "bool_parsing"),
    ({"enable_safety_checker": 3}, "enable_safety_checker", "bool_parsing"),
]


BODIES = [
    b"",
    b"nonsense",
    b"null",
    b"[]",
    b'"text"',
    b"7",
    b'{"prompt": ',
    b"\xff\xfe\x00",
    b"{'prompt': 'a'}",
    DEEP.encode(),
    b'{"prompt": NaN, "image_url": "a"}',
    b'{"prompt": "\\ud800", "image_url": "a"}',
]


def named(location: str) -> list[str]:
    return ["body", *location.split(".")]


@pytest.mark.parametrize(
    ("change", "location", "fault"), FIELDS, ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else ""
)
def test_a_wrong_field(caller: Caller, change: dict[str, Any], location: str, fault: str) -> None:
    answer = caller.run(arguments(**change))

    assert answer.status_code == 422
    problems = [(item["loc"], item["type"]) for item in answer.json()["detail"]]
    assert problems == [(named(location), fault)]
    assert len(answer.content) < 2_000


def test_a_documented_type_has_a_link_and_its_bound(caller: Caller) -> None:
    item = caller.run(arguments(strength=3)).json()["detail"][0]

    assert item["url"] == "https://docs.fal.ai/errors/#less_than_equal"
    assert (item["ctx"], item["input"]) == ({"le": 1.0}, 3)
    assert item["msg"]


@pytest.mark.parametrize("origin", ["", "/run"])
@pytest.mark.parametrize(
    "body",
    BODIES,
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_request(caller: Caller, origin: str, body: bytes) -> None:
    answer = caller.call("POST", f"{origin}/{ENDPOINT}", content=body, headers={"Content-Type": "application/json"})

    if answer.status_code == 200:  # an object in the queue: its own result says what is wrong with it
        answer = caller.finish(answer.json()["request_id"])
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_a_huge_body_is_refused(caller: Caller) -> None:
    def endless() -> Iterator[bytes]:
        yield b'{"prompt": "'
        for _ in range(300):
            yield b"a" * (1024 * 1024)

    try:
        answer = caller.call("POST", f"/{ENDPOINT}", content=endless())
    except httpx.WriteError:
        return  # the server hung up on it, as it may
    assert answer.status_code in {413, 422}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Fal-Request-Timeout": "soon"},
        {"X-Fal-Request-Timeout": "-5"},
        {"X-Fal-Request-Timeout": "nan"},
        {"X-Fal-Request-Timeout": "0"},
        {"X-Fal-Queue-Priority": "urgent"},
        {"X-Fal-Object-Lifecycle-Preference": "{"},
        {"X-Fal-Object-Lifecycle-Preference": '{"expiration_duration_seconds": "long"}'},
        {"Idempotency-Key": "k" * 1000},
        {"X-Total-Timeout": "never"},
    ],
    ids=lambda headers: "-".join(*headers.items())[:60],
)
def test_a_wrong_header(caller: Caller, headers: dict[str, str]) -> None:
    answer = caller.call("POST", f"/{ENDPOINT}", json=arguments(), headers=headers)

    assert answer.status_code == 400
    assert answer.json()["error_type"] == "bad_request"
    assert answer.headers["x-fal-error-type"] == "bad_request"
    assert next(iter(headers)).lower() in answer.json()["detail"].lower()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"/{ENDPOINT}"),
        ("PATCH", f"/run/{ENDPOINT}"),
        ("GET", f"/run/{ENDPOINT}"),
        ("POST", "/fal-ai/kolors"),
        ("GET", "/fal-ai/kolors/requests/"),
        ("GET", "/fal-ai/kolors/requests/../../../etc/passwd"),
        ("GET", "/files/../../etc/passwd"),
        ("GET", "/files/%2e%2e/%2e%2e/etc/passwd"),
        ("GET", "/files/results/nobody/nothing/0.png"),
        ("GET", "/files/"),
        ("GET", "/files/%00"),
        ("PUT", "/files/results/x/y/0.png"),
        ("POST", "/storage/upload/initiate"),
        ("POST", "/storage/nothing"),
        ("GET", "/api/openapi/queue/openapi.json?endpoint_id=other"),
        ("GET", "/%ff%fe"),
        ("GET", "/run"),
        ("GET", f"/fal-ai/kolors/requests/{'9' * 5000}/status"),
        ("GET", "/fal-ai/kolors/requests/%0d%0aX-Evil:1/status"),
    ],
)
def test_a_wrong_address(caller: Caller, method: str, path: str) -> None:
    answer = caller.call(method, path)

    assert 400 <= answer.status_code < 500
    assert isinstance(answer.json(), dict)
    assert "root:" not in answer.text


@pytest.mark.parametrize("header", ["", "Key", "Basic abc", "nonsense"])
def test_without_a_usable_key(server: Server, header: str) -> None:
    nobody = Caller(server.url, key=None)
    nobody.http.headers["Authorization"] = header

    answer = nobody.call("POST", f"/{ENDPOINT}", json=arguments())
    nobody.close()

    assert (answer.status_code, answer.json()) == (401, {"detail": "invalid key credentials"})


def noise(count: int) -> bytes:
    return bytes(k * 7919 % 251 for k in range(count))


def bomb() -> bytes:
    """A small file that says it unpacks to 30,000 × 30,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


PICTURES: dict[str, tuple[bytes | str, str]] = {
    "nothing": ("", "file_download_error"),
    "no address": ("a picture, please", "file_download_error"),
    "empty data": ("data:image/png;base64,", "image_load_error"),
    "data without a comma": ("data:image/png", "image_load_error"),
    "no base64": ("data:image/png;base64,!!!!", "image_load_error"),
    "noise": (noise(4096), "image_load_error"),
    "html": (b"<html><body>404</body></html>", "image_load_error"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image_load_error"),
    "a pdf": (b"%PDF-1.7\n", "image_load_error"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n", "image_load_error"),
    "half a png": (encoded(photo(256, 256))[:3000], "image_load_error"),
    "half a jpeg": (encoded(photo(256, 256), "JPEG")[:1500], "image_load_error"),
    "a broken png": (encoded(photo())[:40] + noise(2000), "image_load_error"),
    "a bomb": (bomb(), "image_too_large"),
    "too small": (encoded(photo(8, 8)), "image_too_small"),
    "too flat": (encoded(photo(64, 15)), "image_too_small"),
    "too slim": (encoded(photo(320, 16)), "image_too_large"),
}


@pytest.mark.parametrize("kind", PICTURES)
def test_a_wrong_picture(caller: Caller, kind: str) -> None:
    content, fault = PICTURES[kind]
    answer = caller.run(arguments(image_url=content if isinstance(content, str) else data_uri(content)))

    assert answer.status_code == 422
    item = answer.json()["detail"][0]
    assert (item["loc"], item["type"]) == (["body", "image_url"], fault)
    assert item["msg"]


def endless() -> Iterator[bytes]:
    chunk = noise(65536)
    while True:
        yield chunk


def test_a_slim_picture_at_the_limit_is_taken(caller: Caller) -> None:
    assert caller.run(arguments(image_url=photo_uri(256, 16))).status_code == 200


@pytest.mark.parametrize(
    ("address", "fault"),
    [
        ("ftp://example.com/a.png", "file_download_error"),
        ("file:///etc/passwd", "file_download_error"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "file_download_error"),
        ("http://", "file_download_error"),
        ("http://[::1", "file_download_error"),
        ("http://no-such-host.invalid/a.png", "file_download_error"),
        ("http://127.0.0.1:1/a.png", "file_download_error"),
        ("http://localhost:1/a.png", "file_download_error"),
        ("http://169.254.169.254/latest/meta-data/", "file_download_error"),
        ("http://[::ffff:127.0.0.1]:1/a.png", "file_download_error"),
        ("http://2130706433:1/a.png", "file_download_error"),
        ("http://10.0.0.1/a.png", "file_download_error"),
        ("http://user:password@127.0.0.1:1/a.png", "file_download_error"),
    ],
)
def test_an_address_that_leads_nowhere(caller: Caller, address: str, fault: str) -> None:
    answer = caller.run(arguments(image_url=address))

    assert answer.status_code == 422
    item = answer.json()["detail"][0]
    assert item["loc"] == ["body", "image_url"]
    assert item["type"] in {fault, "image_load_error"}


def test_the_servers_own_inside_is_out_of_reach(caller: Caller, server: Server) -> None:
    for path in ("/health", "/metrics", "/files/results/a/b/0.png"):
        answer = caller.run(arguments(image_url=f"{server.url}{path}"))
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "image_url"]


def pages(receiver: Receiver) -> dict[str, tuple[str, str]]:
    loop = receiver.publish(Page([b""], 302, {"Location": "?again", "Content-Length": "0"}))
    cut_off = {"Content-Length": "9999", "Connection": "close"}
    large = {"Content-Type": "image/png", "Content-Length": str(200 * 1024 * 1024)}
    return {
        "not found": (f"http://{receiver.address}/nothing", "file_download_error"),
        "a failing server": (receiver.publish(Page([b"no"], 500, {"Content-Length": "2"})), "file_download_error"),
        "a web page": (receiver.page(b"<html></html>", "text/html"), "image_load_error"),
        "a redirect to itself": (loop, "file_download_error"),
        "a redirect inside": (receiver.redirect("http://169.254.169.254/"), "file_download_error"),
        "a redirect to a file": (receiver.redirect("file:///etc/passwd"), "file_download_error"),
        "said to be too large": (receiver.publish(Page(endless(), headers=large)), "file_too_large"),
        "endless": (receiver.publish(Page(endless(), headers={"Content-Type": "image/png"})), "file_too_large"),
        "cut off": (receiver.publish(Page([encoded(photo())[:100]], headers=cut_off)), "file_download_error"),
    }


def test_a_link_to_something_else(caller: Caller, receiver: Receiver) -> None:
    for kind, (link, fault) in pages(receiver).items():
        answer = caller.run(arguments(image_url=link))

        assert answer.status_code == 422, (kind, answer.text)
        item = answer.json()["detail"][0]
        assert (kind, item["loc"], item["type"]) == (kind, ["body", "image_url"], fault)


def test_a_redirect_to_a_picture_is_followed(caller: Caller, receiver: Receiver) -> None:
    link = receiver.redirect(receiver.redirect(receiver.page(encoded(photo()))))

    assert caller.run(arguments(image_url=link)).status_code == 200


def test_the_queue_tells_the_same_later(caller: Caller) -> None:
    for change, location, fault in FIELDS[::6]:
        id = caller.submit(arguments(**change))

        status, result = caller.status(id), caller.result(id)

        assert (status.status_code, status.json()["status"]) == (200, "COMPLETED")
        assert status.json()["error"]
        assert result.status_code == 422
        assert [(item["loc"], item["type"]) for item in result.json()["detail"]] == [(named(location), fault)]


def test_work_goes_on_after_all_that(caller: Caller, server: Server) -> None:
    worker = server.pid("worker")

    answers = [caller.run(arguments(image_url=data_uri(noise(512)))), caller.run(arguments())]

    assert [answer.status_code for answer in answers] == [422, 200]
    assert server.pid("worker") == worker
