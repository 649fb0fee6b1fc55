"""Which addresses are public: every known way of writing a private one, and some that must pass."""

import ipaddress

import pytest

from shared.egress import addresses

PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "192.0.2.1",
    "198.18.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1",
    "::127.0.0.1",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "4000::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "193.0.0.1",
    "223.255.255.254",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
]


@pytest.mark.parametrize("text", PRIVATE)
def test_a_private_address_is_known_in_every_form(text: str) -> None:
    assert not addresses.is_public(addresses.parse(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_public(text: str) -> None:
    assert addresses.is_public(addresses.parse(text))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "2606:4700::1%1", "localhost", "127.1", ""])
def test_what_names_no_host_of_the_internet_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        addresses.parse(text)


def test_nothing_is_public_that_the_standard_library_calls_private() -> None:
    spread = [ipaddress.IPv4Address(number * 65_521 % 2**32) for number in range(60_000)]

    wrong = [address for address in spread if addresses.is_public(address) and not address.is_global]

    assert not wrong
