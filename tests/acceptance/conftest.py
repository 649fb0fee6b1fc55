"""One whole system for most of these tests, a second one behind TLS, and what stands around them.

The systems are started once per run and shared: tests must not depend on an empty queue, and take back the long
requests that they submit.
"""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import trustme

from tests.acceptance.harness.caller import KEY, Caller
from tests.acceptance.harness.receiver import Receiver
from tests.acceptance.harness.server import Server, start, stop

FAL_NAMES = ("fal.run", "queue.fal.run", "rest.fal.ai", "v3.fal.media")


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Server]:
    """The system on the random model over plain http. It may call the receiver and nothing else here."""
    server = start(
        tmp_path_factory.mktemp("server"),
        kolors_model="random",
        egress_allow=receiver.address,
        webhook_retry_s="0.2,0.2,1,5,30",
        sweep_s="1",
    )
    yield server
    stop(server)


@pytest.fixture(scope="session")
def caller(server: Server) -> Iterator[Caller]:
    caller = Caller(server.url)
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """A private certificate authority and the file that makes a client trust it."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("tls") / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return authority, file


@pytest.fixture(scope="session")
def tls_server(
    tmp_path_factory: pytest.TempPathFactory, authority: tuple[trustme.CA, Path], receiver: Receiver
) -> Iterator[Server]:
    """The system on the random model over https, under the names of fal's hosts, too, and for one key only, and
    with two workers."""
    ca, ca_file = authority
    directory = tmp_path_factory.mktemp("tls-server")
    certificate = ca.issue_cert("localhost", "127.0.0.1", *FAL_NAMES)
    chain, key = directory / "chain.pem", directory / "key.pem"
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    certificate.private_key_pem.write_to_path(str(key))
    server = start(
        directory,
        ca_file=str(ca_file),
        kolors_model="random",
        egress_allow=receiver.address,
        api_keys=KEY,
        workers="2",
        tls_cert_file=str(chain),
        tls_key_file=str(key),
    )
    yield server
    stop(server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Shows the end of the logs of every system that a failed test used."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for name, value in item.funcargs.items():
            if isinstance(value, Server):
                report.sections.append((f"log of {name}", value.tail()))
    return report
