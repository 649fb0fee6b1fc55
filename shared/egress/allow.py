"""What the operator exempts from the block of private addresses. Pure.

`EGRESS_ALLOW=minio,10.0.0.0/8,127.0.0.1:9000,[fd00::1]:8080`: host names, addresses and CIDRs, each with or without
a port. An entry without a port stands for every port; a CIDR of IPv6 with a port is written `[fd00::/8]:8080`.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Self

from shared.egress.addresses import Address
from shared.errors import WrongSetting

Network = IPv4Network | IPv6Network

_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9])?")
_BRACKETED = re.compile(r"\[([^\]]+)\](?::(\d+))?")
_LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str | None
    network: Network | None
    port: int | None


@dataclass(frozen=True, slots=True)
class Allow:
    entries: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises `WrongSetting` for the first entry that makes no sense."""
        return cls(tuple(_entry(part.strip()) for part in text.split(",") if part.strip()))

    def permits_host(self, host: str, port: int) -> bool:
        """Whether whatever this name stands for may be called."""
        name = host.lower().rstrip(".")
        return any(entry.host == name and entry.port in {None, port} for entry in self.entries)

    def permits_address(self, address: Address, port: int) -> bool:
        return any(
            entry.network is not None
            and entry.network.version == address.version
            and address in entry.network
            and entry.port in {None, port}
            for entry in self.entries
        )


def _entry(text: str) -> _Entry:
    place, port = _split(text)
    if port is not None and not 0 < port <= _LARGEST_PORT:
        raise WrongSetting("EGRESS_ALLOW", f"{text!r} has no valid port")
    try:
        return _Entry(None, ip_network(place), port)
    except ValueError:
        pass
    name = place.lower().rstrip(".")
    if not _HOST.fullmatch(name) or re.fullmatch(r"[0-9.]+", name):
        raise WrongSetting("EGRESS_ALLOW", f"{text!r} is neither a host, nor an address, nor a network")
    return _Entry(name, None, port)


def _split(text: str) -> tuple[str, int | None]:
    if bracketed := _BRACKETED.fullmatch(text):
        return bracketed[1], int(bracketed[2]) if bracketed[2] else None
    place, colon, port = text.rpartition(":")
    if colon and ":" not in place and port.isdecimal():
        return place, int(port)
    return text, None
