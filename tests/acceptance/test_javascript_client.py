"""fal's JavaScript client, unmodified, both ways that lead to another server. The programs are in js/, one per subject.

They run under `node --test`; its report is shown when a program fails.
"""

import os
import subprocess
from pathlib import Path

import pytest

from deploy.setup import node as interpreter
from tests.acceptance.harness.caller import Caller, flooded
from tests.acceptance.harness.pictures import encoded, photo, photo_uri
from tests.acceptance.harness.receiver import Receiver
from tests.acceptance.harness.server import Server

PROGRAMS = Path(__file__).parent / "js"
WAYS = pytest.mark.parametrize("way", ["proxy", "middleware"])


@pytest.fixture(scope="session")
def node() -> str:
    """The interpreter that set-up found, once it has put the pinned client beside the programs."""
    path = interpreter.node()
    if path is None:
        pytest.skip("not installed: node, 18 or newer")
    if not (PROGRAMS / "node_modules" / "@fal-ai" / "client").exists():
        pytest.skip("not installed: @fal-ai/client; `npm ci` in tests/acceptance/js installs it")
    return path


@pytest.fixture
def photo_file(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    file.write_bytes(encoded(photo()))
    return file


def succeed(node: str, program: str, way: str, server: Server, **environment: str) -> str:
    """The program's output; fails with it unless every one of its tests passed."""
    run = subprocess.run(
        [node, "--test", "--test-reporter=spec", program],
        cwd=PROGRAMS,
        env=os.environ | {"BASE_URL": server.url, "WAY": way, "IMAGE_URL": photo_uri()} | environment,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@WAYS
def test_calls(node: str, server: Server, receiver: Receiver, way: str) -> None:
    hook = receiver.hook()

    output = succeed(node, "calls.test.mjs", way, server, HOOK_URL=hook)

    post = receiver.await_posts(hook)[0]
    assert f"hook of {post.headers['x-fal-webhook-request-id']}" in output


@WAYS
def test_errors(node: str, server: Server, way: str) -> None:
    succeed(node, "errors.test.mjs", way, server)


@WAYS
def test_uploads(node: str, server: Server, way: str, photo_file: Path) -> None:
    succeed(node, "uploads.test.mjs", way, server, IMAGE_FILE=str(photo_file))


@WAYS
def test_a_full_queue(node: str, server: Server, caller: Caller, way: str) -> None:
    with flooded(caller):
        succeed(node, "queued.test.mjs", way, server)
