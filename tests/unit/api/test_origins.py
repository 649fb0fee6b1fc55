"""Hosts and paths: what becomes of them inside, and what links start with."""

from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from api.origins import HostNames, Origins, canonical, not_found
from api.settings import ApiSettings
from shared.errors import BadRequest

SUBMIT = "/fal-ai/kolors/image-to-image"


async def _call(
    path: str, host: str = "localhost:8000", method: str = "POST", settings: ApiSettings | None = None, **headers: str
) -> tuple[str, str, bytes]:
    """(internal path, base, query) of a call."""
    seen: dict[str, Any] = {}

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope)

    raw = [(b"host", host.encode("latin-1", "replace"))] if host else []
    raw += [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "scheme": "http", "path": path, "query_string": b"", "headers": raw,
             "client": ("10.0.0.9", 1), "server": ("127.0.0.1", 8000)}  # fmt: skip

    async def nothing(*_: object) -> Any:
        raise AssertionError

    await Origins(inside, settings or ApiSettings())(scope, nothing, nothing)
    return seen["path"], seen["kolors.base"], seen["query_string"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("/", "/"),
        ("//", "/"),
        (f"{SUBMIT}/", SUBMIT),
        ("//fal-ai//kolors/image-to-image", SUBMIT),
        (f"{SUBMIT}/requests/1/status/", "/fal-ai/kolors/requests/1/status"),
        (f"{SUBMIT}/requests/1/response", "/fal-ai/kolors/requests/1"),
        ("/fal-ai/kolors/requests/1/response/", "/fal-ai/kolors/requests/1"),
        ("/files/results/a/response", "/files/results/a/response"),
    ],
)
def test_a_path_has_one_spelling(given: str, expected: str) -> None:
    assert canonical(given) == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"/run{SUBMIT}/stream", "Path /stream not found"),
        (f"/run{SUBMIT}/realtime", "Path /realtime not found"),
        (f"{SUBMIT}/stream", "Path /stream not found"),
        ("/fal-ai/kolors/foo", "Path /foo not found"),
        ("/fal-ai/kolors", "Path / not found"),
        ("/nowhere", "Path /nowhere not found"),
        ("/fal-ai/flux/dev", "Application 'flux' of 'fal-ai' not found"),
        ("/storage/upload/x", "Path /storage/upload/x not found"),
    ],
)
def test_what_an_unknown_path_is_told(path: str, message: str) -> None:
    assert not_found(path) == message


async def test_the_host_chooses_the_origin() -> None:
    assert await _call(SUBMIT, "queue.fal.run") == (SUBMIT, "http://queue.fal.run", b"")
    assert await _call(SUBMIT, "fal.run") == (f"/run{SUBMIT}", "http://fal.run", b"")
    for host in ("FAL.RUN:443", "fal.run.", "Fal.Run.:80", "fal.run:", "fal.run:65535"):
        assert await _call(SUBMIT, host) == (f"/run{SUBMIT}", f"http://{host}", b"")
    for host in ("queue.fal.run.", "fal.run.example", "xfal.run", "fal.run..", "localhost.", "[::1]:8000", "[::1]"):
        assert await _call(SUBMIT, host) == (SUBMIT, f"http://{host}", b"")
    assert (await _call("/files/a", "fal.run"))[0] == "/files/a"  # a link made under that name
    assert (await _call("/files/upload", "v3.fal.media"))[0] == "/files/upload"
    assert (await _call(f"/run{SUBMIT}", "localhost:8000"))[0] == f"/run{SUBMIT}"
    assert await _call(SUBMIT, "") == (SUBMIT, "http://127.0.0.1:8000", b"")


async def test_only_a_trusted_proxy_says_what_the_client_called() -> None:
    trusting = ApiSettings.model_validate({"trusted_proxies": "10.0.0.0/24"})
    for settings, expected in (
        (None, (SUBMIT, "http://localhost:8000")),
        (trusting, (f"/run{SUBMIT}", "https://fal.run")),
    ):
        called = await _call(SUBMIT, settings=settings, x_forwarded_proto="https", x_forwarded_host="fal.run")
        assert called[:2] == expected


async def test_a_public_url_wins() -> None:
    settings = ApiSettings(public_url="https://pictures.example/kolors/")
    assert (await _call(SUBMIT, settings=settings))[1] == "https://pictures.example/kolors"


@pytest.mark.parametrize("host", ["evil.example/x", "a b", "<script>", "host:port", "x" * 300, "fal.run:65536",
                                  "fal.run:99999", "fal.run:123456", "fal.run:80:80", "a@fal.run", "[fal.run]", "::1",
                                  "fal.run\u00e9", "fal.run:\u0664"])  # fmt: skip
async def test_a_host_that_is_none_is_refused(host: str) -> None:
    with pytest.raises(BadRequest):
        await _call("/health", host)


async def test_what_is_no_path_is_refused() -> None:
    for host in ("fal.run", "queue.fal.run"):
        with pytest.raises(BadRequest):
            await _call("*", host, method="GET")


async def test_two_hosts_are_none() -> None:
    with pytest.raises(BadRequest):
        await _call("/health", "fal.run", HOST="queue.fal.run")


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (f"https://queue.fal.run{SUBMIT}?fal_webhook=x", SUBMIT, b"fal_webhook=x"),
        (f"https://fal.run{SUBMIT}", f"/run{SUBMIT}", b""),
        (
            "https://rest.fal.ai/storage/upload/initiate?storage_type=gcs",
            "/storage/upload/initiate",
            b"storage_type=gcs",
        ),
        ("https://queue.fal.run/fal-ai/kolors/requests/1/status?logs=1", "/fal-ai/kolors/requests/1/status", b"logs=1"),
        ("https://v3.fal.media/files/a%20b", "/files/a b", b""),
    ],
)
async def test_a_proxied_call_is_routed_by_its_target(target: str, path: str, query: bytes) -> None:
    assert await _call("/api/fal/proxy", x_fal_target_url=target) == (path, "http://localhost:8000", query)


@pytest.mark.parametrize(
    "target",
    ["", "nonsense", "https://example.com/x", "file:///etc/passwd", "https://fal.run@evil.example/x", "http://[::1",
     "https://evilfal.run/x", "https://fal.run.evil.example/", "http://169.254.169.254/"],
)  # fmt: skip
async def test_the_proxy_serves_fals_hosts_only(target: str) -> None:
    with pytest.raises(BadRequest):
        await _call("/api/fal/proxy", x_fal_target_url=target)


async def test_the_proxy_needs_a_target_and_a_known_method() -> None:
    with pytest.raises(BadRequest):
        await _call("/api/fal/proxy")
    with pytest.raises(HTTPException) as caught:
        await _call("/api/fal/proxy", method="DELETE", x_fal_target_url="https://fal.run/x")
    assert caught.value.status_code == 405


def test_host_names() -> None:
    names = HostNames(["fal.run", "*.fal.media", "local:81"])
    assert "fal.run:443" in names
    assert "v3.fal.media" in names
    assert "local:81" in names
    assert "local:82" not in names
    assert "fal.media" not in names
    assert "xfal.media" not in names
    assert "V3.FAL.MEDIA.:443" in names
    assert "local.:81" in names
    assert "local" not in names
    assert "" not in names
    assert ":81" not in names
