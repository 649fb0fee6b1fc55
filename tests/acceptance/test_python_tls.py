"""Whole programs on fal's Python client, unmodified, over TLS: told where to go by environment variables alone.

The certificate is of a private authority that only SSL_CERT_FILE names.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.harness.caller import ENDPOINT, Caller, arguments
from tests.acceptance.harness.server import Server
from tests.acceptance.harness.tunnel import Tunnel

PROGRAMS = Path(__file__).parent / "programs"
REFUSAL = "invalid key credentials"
LARGE_BYTES = 101 * 1024 * 1024


def run_program(name: str, server: Server, *words: str, **environment: str) -> dict[str, Any]:
    """What the program printed; fails with its error output if it did not end well."""
    assert server.ca_file
    run = subprocess.run(
        [sys.executable, PROGRAMS / f"{name}.py", *words],
        env={"PATH": os.environ["PATH"], "FAL_KEY": "acceptance:secret", "SSL_CERT_FILE": server.ca_file} | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def by_host(server: Server) -> dict[str, str]:
    return {"FAL_RUN_HOST": f"localhost:{server.port}/run", "FAL_QUEUE_RUN_HOST": f"localhost:{server.port}"}


@pytest.fixture(scope="module")
def tls_caller(tls_server: Server) -> Iterator[Caller]:
    caller = Caller(tls_server.url, ca_file=tls_server.ca_file)
    yield caller
    caller.close()


@pytest.fixture(scope="module")
def tunnel(tls_server: Server) -> Iterator[Tunnel]:
    tunnel = Tunnel(tls_server.port)
    yield tunnel
    tunnel.close()


@pytest.fixture(scope="module")
def large_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sparse, but for a mark in every part."""
    file = tmp_path_factory.mktemp("large") / "large.bin"
    with file.open("wb") as content:
        for position in range(0, LARGE_BYTES, 10 * 1024 * 1024):
            content.seek(position)
            content.write(f"part at {position}".encode())
        content.truncate(LARGE_BYTES)
    return file


def test_the_calls(tls_server: Server, tls_caller: Caller) -> None:
    seen = run_program("calls", tls_server, **by_host(tls_server))

    address = f"{tls_server.url}/fal-ai/kolors/requests/{seen['request_id']}"
    assert seen["addresses"] == [address, f"{address}/status", f"{address}/cancel"]
    assert seen["kinds"][-1] == "Completed"
    assert seen["logs"] == [None, True]
    assert seen["seeds"] == [7, 7, 7]
    assert seen["messages"]
    assert seen["by_id"] == ["Completed", True]
    assert seen["link"].startswith(f"{tls_server.url}/files/")
    assert tls_caller.http.get(seen["link"]).content.startswith(b"\x89PNG")


def test_the_errors(tls_server: Server, tls_caller: Caller) -> None:
    seen = run_program("errors", tls_server, **by_host(tls_server))

    for way in ("fields", "queued fields"):
        assert seen[way]["status"] == 422
        problems = {tuple(item["loc"]): item["type"] for item in seen[way]["message"]}
        assert problems == {("body", "image_url"): "missing", ("body", "strength"): "less_than_equal"}
    assert seen["cancelled"] == {"status": 499, "message": "Request was cancelled", "type": "client_cancelled"}
    assert seen["late"]["status"] == 400
    assert seen["timeout"]["timeout"] == 1.5
    tls_caller.await_status(seen["timeout"]["request_id"], "COMPLETED", within_s=15)


@pytest.mark.parametrize("key", [None, "acceptance:guessed", "somebody:secret"])
def test_only_the_one_key_is_let_in(tls_server: Server, key: str | None) -> None:
    stranger = Caller(tls_server.url, key=key, ca_file=tls_server.ca_file)

    answers = [stranger.call("POST", f"/{ENDPOINT}", json=arguments()), stranger.run(arguments())]
    stranger.close()

    assert [(answer.status_code, answer.json()) for answer in answers] == [(401, {"detail": REFUSAL})] * 2


def test_the_asynchronous_client(tls_server: Server) -> None:
    seen = run_program("asynchronous", tls_server, **by_host(tls_server))

    assert seen == {"seeds": [1, 2, 3], "end": "Completed", "status": 499}


def test_the_uploads(tls_server: Server, tunnel: Tunnel, large_file: Path) -> None:
    """Uploads go to hosts that the client knows by heart; a proxy leads them all to the server."""
    seen = run_program("uploads", tls_server, str(large_file), HTTPS_PROXY=tunnel.url)

    assert {"queue.fal.run", "rest.fal.ai", "v3.fal.media"} <= tunnel.hosts
    plain = Caller(tls_server.url, key=None, ca_file=tls_server.ca_file)
    for name, link in seen["links"].items():
        assert fetched(plain, link) == bytes.fromhex(seen["content"]), name
    assert fetched(plain, seen["picture"]).startswith(b"\xff\xd8")
    assert hashlib.sha256(fetched(plain, seen["large"])).digest() == hashlib.sha256(large_file.read_bytes()).digest()
    assert fetched(plain, seen["output"]["images"][0]["url"]).startswith(b"\x89PNG")
    plain.close()


def fetched(caller: Caller, link: str) -> bytes:
    """The content behind a link, whichever of fal's names its host is."""
    host, _, path = link.removeprefix("https://").partition("/")
    answer = caller.http.get(f"/{path}", headers={"Host": host}, follow_redirects=True)
    assert answer.status_code == 200, link
    return answer.content
