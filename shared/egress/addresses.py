"""Which addresses belong to the public internet. Pure.

`ipaddress.is_global` is not enough: it lets multicast through, and every form that carries a private IPv4 address
inside an IPv6 one. So IPv6 is a list of what is allowed (2000::/3, less the special blocks in it), IPv4 a list of
what is not.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_V4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # "this host": Linux connects to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT; Alibaba's metadata service
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's host, from inside any virtual machine
        "169.254.0.0/16",  # link-local: the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
]
_UNICAST_V6 = IPv6Network("2000::/3")
_NOT_PUBLIC_V6 = [
    IPv6Network(block)
    for block in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: carries an IPv4 address
        "3fff::/20",  # documentation
    )
]
_NAT64 = IPv6Network("64:ff9b::/96")


def parse(text: str) -> Address:
    """An address as the resolver writes it; an IPv4 address inside an IPv6 one comes out as what it is.

    Raises `ValueError` for anything else, a scoped address (`fe80::1%eth0`) too.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text} is only valid on one link")
        return address.ipv4_mapped or address
    return address


def is_public(address: Address) -> bool:
    """Whether anybody on the internet means the same host by it.

    With NAT64 every IPv4 host has an address in 64:ff9b::/96; it is as public as the one inside.
    """
    if isinstance(address, IPv4Address):
        return not any(address in block for block in _NOT_PUBLIC_V4)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _UNICAST_V6 and not any(address in block for block in _NOT_PUBLIC_V6)
