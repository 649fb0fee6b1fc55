"""The README's programs, as they stand there: only the address is put in."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.setup import node
from tests.acceptance.harness.caller import Caller
from tests.acceptance.harness.pictures import encoded, photo, picture_at
from tests.acceptance.harness.server import ROOT, Server

WRITTEN = "http://127.0.0.1:8000"
PACKAGES = ROOT / "tests" / "acceptance" / "js" / "node_modules"
KEY = "any:key"


def snippets(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return [str(snippet) for snippet in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the programs are run: the picture that they name lies there."""
    (tmp_path / "photo.png").write_bytes(encoded(photo()))
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    environment = {"PATH": os.environ["PATH"], "FAL_KEY": KEY}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def javascript(snippet: str, server: Server, folder: Path) -> str:
    path = node.node()
    if path is None or not PACKAGES.is_dir():
        pytest.skip("not installed: node or its packages")
    (folder / "node_modules").symlink_to(PACKAGES)
    (folder / "program.mjs").write_text(snippet.replace(WRITTEN, server.url))
    return run([path, "program.mjs"], folder)


def test_python(server: Server, folder: Path):
    (snippet,) = snippets("python")
    (folder / "program.py").write_text(snippet.replace(WRITTEN, server.url))
    *logs, link = run([sys.executable, "program.py"], folder).splitlines()
    assert logs
    assert picture_at(link).size == (64, 64)


def test_javascript_by_proxy(server: Server, folder: Path):
    last = javascript(snippets("js")[0], server, folder).splitlines()[-1]
    link, request_id = last.split()
    assert picture_at(link).size == (64, 64)
    assert request_id in link or re.fullmatch(r"[0-9a-f-]{36}", request_id)


def test_javascript_by_rewriting(server: Server, folder: Path):
    request_id = javascript(snippets("js")[1], server, folder).strip()
    caller = Caller(server.url, key=KEY)
    try:
        assert caller.finish(request_id).status_code == 200
    finally:
        caller.close()


def test_curl(server: Server, folder: Path):
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    (snippet,) = [snippet for snippet in snippets("sh") if snippet.startswith("curl ")]
    answer = run(["/bin/sh", "-c", snippet.replace(WRITTEN, server.url)], folder)
    assert '"images"' in answer
