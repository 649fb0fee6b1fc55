"""EGRESS_ALLOW: what is exempt, and what is not although it looks like it."""

import pytest

from shared.egress import Allow, addresses
from shared.errors import WrongSetting


@pytest.mark.parametrize(
    ("allow", "host", "port", "permitted"),
    [
        ("minio", "minio", 9000, True),
        ("minio", "MinIO.", 9000, True),
        ("minio:9000", "minio", 9000, True),
        ("minio:9000", "minio", 9001, False),
        ("minio", "minio.evil.test", 9000, False),
        ("minio", "evil-minio", 9000, False),
        ("a.test, b.test", "b.test", 80, True),
        ("", "localhost", 80, False),
        ("127.0.0.1", "127.0.0.1.nip.test", 80, False),
    ],
)
def test_hosts(allow: str, host: str, port: int, permitted: bool) -> None:
    assert Allow.parse(allow).permits_host(host, port) is permitted


@pytest.mark.parametrize(
    ("allow", "address", "port", "permitted"),
    [
        ("127.0.0.1", "127.0.0.1", 9000, True),
        ("127.0.0.1", "127.0.0.2", 9000, False),
        ("127.0.0.1:9000", "127.0.0.1", 9000, True),
        ("127.0.0.1:9000", "127.0.0.1", 22, False),
        ("10.0.0.0/8", "10.200.0.1", 80, True),
        ("10.0.0.0/8:8080", "10.200.0.1", 80, False),
        ("10.0.0.0/8:8080", "10.200.0.1", 8080, True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", 80, True),
        ("10.0.0.0/8", "fd00::1", 80, False),
        ("fd00::/8", "fd00::1", 80, True),
        ("[fd00::1]:8080", "fd00::1", 8080, True),
        ("[fd00::/8]:8080", "fd00::1", 80, False),
        ("::1", "::1", 80, True),
        ("localhost", "127.0.0.1", 80, False),
    ],
)
def test_addresses(allow: str, address: str, port: int, permitted: bool) -> None:
    assert Allow.parse(allow).permits_address(addresses.parse(address), port) is permitted


@pytest.mark.parametrize(
    "text", ["http://minio", "a b", "minio:0", "minio:70000", "10.0.0.1/8", "256.0.0.1", "*", "[::1", "-"]
)
def test_an_entry_that_makes_no_sense_stops_the_start(text: str) -> None:
    with pytest.raises(WrongSetting, match="EGRESS_ALLOW"):
        Allow.parse(text)
