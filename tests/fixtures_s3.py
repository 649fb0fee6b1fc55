"""A real S3 server for the tests: OpenStack Swift with s3api, four processes on free loopback ports.

It checks SigV4 signatures and their expiry for real. It lives in an environment of its own because it pins
packages that we use, too: `python -m venv .venv-swift && .venv-swift/bin/pip install -r tests/swift-requirements.txt`.

Fixtures: `s3_server` (session; started once), `s3_env` (its address and credentials under boto3's names, and a
new bucket's name: what a process needs to use it), `s3_bucket` (the same, set in this process).
"""

import contextlib
import os
import secrets
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.ports import free_port

VENV = Path(__file__).parent.parent / ".venv-swift"
_SERVICES = ("account", "container", "object")
_START_S = 60
_PIPELINE = (
    "catch_errors gatekeeper healthcheck proxy-logging cache s3api tempauth bulk slo dlo proxy-logging proxy-server"
)
_RINGS = """
import sys
from swift.common.ring import RingBuilder
for place in sys.argv[1:]:
    path, _, port = place.partition("=")
    builder = RingBuilder(6, 1, 1)
    device = dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="d1", weight=1.0)
    builder.add_dev(device)
    builder.rebalance()
    builder.get_ring().save(path)
"""


@dataclass(frozen=True)
class S3Server:
    """`access_key` and `secret_key` may do everything; the region is us-east-1."""

    endpoint_url: str
    access_key: str = "test:tester"
    secret_key: str = "SECRET"

    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    if not (VENV / "bin" / "swift-proxy-server").exists():
        pytest.skip("no S3 server: install tests/swift-requirements.txt into .venv-swift")
    root = tmp_path_factory.mktemp("swift")
    with running_s3(root) as server:
        yield server
    shutil.rmtree(root)


@contextlib.contextmanager
def running_s3(root: Path) -> Generator[S3Server]:
    """A server of its own that keeps everything in `root`, which is made."""
    root.mkdir(parents=True, exist_ok=True)
    ports = {name: free_port() for name in ("proxy", *_SERVICES)}
    _configure(root, ports)
    with contextlib.ExitStack() as stack:
        for name in (*_SERVICES, "proxy"):
            stack.enter_context(_running(root, name))
        endpoint = f"http://127.0.0.1:{ports['proxy']}"
        _wait(f"{endpoint}/healthcheck", root)
        yield S3Server(endpoint)


@pytest.fixture
def s3_env(s3_server: S3Server) -> dict[str, str]:
    return {**s3_server.environment(), "STORAGE_URL": f"s3://files-{secrets.token_hex(6)}"}


@pytest.fixture
def s3_bucket(s3_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3_env.items():
        monkeypatch.setenv(name, value)
    return s3_env["STORAGE_URL"].removeprefix("s3://")


def _configure(root: Path, ports: dict[str, int]) -> None:
    (root / "disks" / "d1").mkdir(parents=True)
    (root / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\n[storage-policy:0]\nname = one\ndefault = yes\n"
    )
    for service in _SERVICES:
        (root / f"{service}.conf").write_text(
            f"[DEFAULT]\n{_common(root, ports[service])}devices = {root / 'disks'}\nmount_check = false\n"
            "disable_fallocate = true\nfallocate_reserve = 0\n"
            f"[pipeline:main]\npipeline = {service}-server\n[app:{service}-server]\nuse = egg:swift#{service}\n"
        )
    _rings(root, ports)
    filters = {
        "catch_errors": "",
        "gatekeeper": "",
        "healthcheck": "",
        "proxy-logging": "",
        "cache": "memcache_servers = 127.0.0.1:1\n",
        "s3api": "s3_acl = false\nlocation = us-east-1\n",
        "tempauth": "user_test_tester = SECRET .admin\n",
        "bulk": "",
        "slo": "",
        "dlo": "",
    }
    eggs = {"cache": "memcache", "proxy-logging": "proxy_logging"}
    (root / "proxy.conf").write_text(
        f"[DEFAULT]\n{_common(root, ports['proxy'])}[pipeline:main]\npipeline = {_PIPELINE}\n"
        "[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
        + "".join(f"[filter:{name}]\nuse = egg:swift#{eggs.get(name, name)}\n{more}" for name, more in filters.items())
    )


def _common(root: Path, port: int) -> str:
    return f"bind_ip = 127.0.0.1\nbind_port = {port}\nworkers = 0\nswift_dir = {root}\nlog_level = ERROR\n"


def _rings(root: Path, ports: dict[str, int]) -> None:
    """Where each service finds its one disk. In one process: importing Swift takes most of the time."""
    places = [f"{root / service}.ring.gz={ports[service]}" for service in _SERVICES]
    command = [str(VENV / "bin" / "python"), "-c", _RINGS, *places]
    subprocess.run(command, check=True, capture_output=True, timeout=_START_S)


@contextlib.contextmanager
def _running(root: Path, name: str) -> Generator[None]:
    environment = {"PATH": os.environ["PATH"], "SWIFT_CONF_FILE": str(root / "swift.conf")}
    with (root / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [str(VENV / "bin" / f"swift-{name}-server"), str(root / f"{name}.conf")],
            stdout=log,
            stderr=log,
            cwd=root,
            env=environment,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str, root: Path) -> None:
    deadline = time.monotonic() + _START_S
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=5):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in root.glob("*.log"))
                raise TimeoutError(f"the S3 server did not start: {logs}") from error
            time.sleep(0.05)
