"""Which addresses may be told: those of the public internet, in whatever clothes they come. Pure.

The standard library's `is_global` is no guard: it says yes to multicast, to 6to4 and to NAT64, whatever private
address lies inside. So every block of IANA's registries of special-purpose addresses stands here
(https://www.iana.org/assignments/iana-ipv4-special-registry and …/iana-ipv6-special-registry), with those that
RFCs have retired since: machines still route them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

DENIED_V4: dict[IPv4Network, str] = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("10.0.0.0/8"): "private",
    IPv4Network("100.64.0.0/10"): "shared by a carrier's customers",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("168.63.129.16/32"): "Azure's own host, beside each of its machines",
    IPv4Network("169.254.0.0/16"): "link-local: a cloud's metadata",
    IPv4Network("172.16.0.0/12"): "private",
    IPv4Network("192.0.0.0/24"): "for protocols",
    IPv4Network("192.0.2.0/24"): "documentation",
    IPv4Network("192.31.196.0/24"): "AS112",
    IPv4Network("192.52.193.0/24"): "AMT",
    IPv4Network("192.88.99.0/24"): "6to4 relays",
    IPv4Network("192.168.0.0/16"): "private",
    IPv4Network("192.175.48.0/24"): "AS112",
    IPv4Network("198.18.0.0/15"): "benchmarks",
    IPv4Network("198.51.100.0/24"): "documentation",
    IPv4Network("203.0.113.0/24"): "documentation",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
DENIED_V6: dict[IPv6Network, str] = {
    IPv6Network("::/128"): "unspecified",
    IPv6Network("::1/128"): "loopback",
    IPv6Network("::/96"): "IPv4-compatible",
    IPv6Network("::ffff:0:0/96"): "IPv4-mapped",
    IPv6Network("::ffff:0:0:0/96"): "IPv4-translated",
    IPv6Network("64:ff9b:1::/48"): "a network's own NAT64",
    IPv6Network("100::/64"): "discarded",
    IPv6Network("100:0:0:1::/64"): "dummy",
    IPv6Network("2001::/23"): "for protocols",
    IPv6Network("2001:db8::/32"): "documentation",
    IPv6Network("2002::/16"): "6to4",
    IPv6Network("2620:4f:8000::/48"): "AS112",
    IPv6Network("3fff::/20"): "documentation",
    IPv6Network("5f00::/16"): "segment routing",
    IPv6Network("fc00::/7"): "private",
    IPv6Network("fe80::/10"): "link-local",
    IPv6Network("fec0::/10"): "site-local",
    IPv6Network("ff00::/8"): "multicast",
}
# Where a network has IPv6 alone, its DNS64 writes every IPv4 address so: public if the one inside is (RFC 6052).
NAT64 = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that is given out for the internet (RFC 4291, §2.4)
_NONE_INSIDE = IPv6Network("::/127")  # unspecified and loopback are themselves, though IPv4-compatible by their bits
_ALL = 2**32 - 1
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # upper half of an interface's id, before an IPv4 address (RFC 5214, §6.1)


@dataclass(frozen=True, slots=True)
class _Embedding:
    """Where in the addresses of a network an IPv4 address lies: so many bits from the right, perhaps inverted."""

    network: IPv6Network
    shift: int = 0
    inverted_by: int = 0


_EMBEDDINGS = (
    _Embedding(IPv6Network("::/96")),
    _Embedding(IPv6Network("::ffff:0:0/96")),
    _Embedding(IPv6Network("::ffff:0:0:0/96")),
    _Embedding(NAT64),
    _Embedding(IPv6Network("2002::/16"), shift=80),  # RFC 3056, §2
    _Embedding(IPv6Network("2001::/32"), shift=64),  # Teredo's server (RFC 4380, §4)
    _Embedding(IPv6Network("2001::/32"), inverted_by=_ALL),  # and its client
)


@lru_cache(maxsize=1024)  # the same few addresses are judged before every attempt
def why_not_public(address: Address) -> str | None:
    """What keeps this address from being told, such as `private, 10.0.0.0/8`; None where it is public."""
    if isinstance(address, IPv4Address):
        return _block(address)
    inside = (_block(each) for each in _inside(address))  # first, for it says more: loopback, say, rather than 6to4
    return next((why for why in inside if why), None) or _block_v6(address)


def _block(address: IPv4Address) -> str | None:
    return next((f"{what}, {network}" for network, what in DENIED_V4.items() if address in network), None)


def _block_v6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "of one link: it has a zone"
    denied = next((f"{what}, {network}" for network, what in DENIED_V6.items() if address in network), None)
    if denied is None and address not in GLOBAL_UNICAST and address not in NAT64:
        return f"not given out for the internet, outside {GLOBAL_UNICAST}"
    return denied


def _inside(address: IPv6Address) -> list[IPv4Address]:
    """Every IPv4 address that a machine may take this one for."""
    if address in _NONE_INSIDE:
        return []
    bits = int(address)
    found = [
        IPv4Address((bits >> each.shift & _ALL) ^ each.inverted_by) for each in _EMBEDDINGS if address in each.network
    ]
    if bits >> 32 & _ALL in _ISATAP:
        found.append(IPv4Address(bits & _ALL))
    return found
