"""Which addresses may be told: each block of the registries from its first address to its last, in every embedding."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.outbox.addresses import DENIED_V4, DENIED_V6, why_not_public

# IANA's registries of special-purpose addresses with what is more special inside, and multicast: apart from the code.
IANA_V4 = [
    "0.0.0.0/8",
    "0.0.0.0/32",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.0.0/29",
    "192.0.0.8/32",
    "192.0.0.9/32",
    "192.0.0.10/32",
    "192.0.0.170/32",
    "192.0.0.171/32",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.88.99.2/32",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "255.255.255.255/32",
]
IANA_V6 = [
    "::1/128",
    "::/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "100:0:0:1::/64",
    "2001::/23",
    "2001::/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:2::/48",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:10::/28",
    "2001:20::/28",
    "2001:30::/28",
    "2001:db8::/32",
    "2002::/16",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80e::200e",
    "2003::",
    "64:ff9b::8.8.8.8",
]


def _bits(form: str, shift: int = 0, inverted_by: int = 0) -> Callable[[IPv4Address], IPv6Address]:
    return lambda inside: IPv6Address(int(IPv6Address(form)) | (int(inside) ^ inverted_by) << shift)


EMBEDDINGS = {
    "compatible": _bits("::"),
    "mapped": _bits("::ffff:0:0"),
    "translated": _bits("::ffff:0:0:0"),
    "nat64": _bits("64:ff9b::"),
    "nat64 of a network's own": _bits("64:ff9b:1::"),
    "6to4": _bits("2002::", shift=80),
    "teredo's server": _bits("2001::", shift=64),
    "teredo's client": _bits("2001::4136:e378:8000:63bf:0:0", inverted_by=2**32 - 1),
    "isatap": _bits("2a00:1450::5efe:0:0"),
    "isatap, unique": _bits("2a00:1450::200:5efe:0:0"),
}


def within(network: IPv4Network) -> st.SearchStrategy[IPv4Address]:
    first, last = int(network[0]), int(network[-1])
    return st.integers(first, last).map(IPv4Address)


DENIED = st.sampled_from(sorted(DENIED_V4)).flatmap(within)


@pytest.mark.parametrize("block", [*IANA_V4, *IANA_V6])
def test_no_block_of_the_registries_is_public(block: str) -> None:
    network = IPv6Network(block) if ":" in block else IPv4Network(block)

    assert [] == [each for each in (network[0], network[-1], network[network.num_addresses // 2]) if _is_public(each)]


@pytest.mark.parametrize("address", PUBLIC)
def test_what_lies_beside_the_blocks_is_public(address: str) -> None:
    assert why_not_public(ip_address(address)) is None


@pytest.mark.parametrize("embed", EMBEDDINGS.values(), ids=EMBEDDINGS)
@given(inside=DENIED)
def test_a_denied_address_is_denied_in_every_embedding(
    embed: Callable[[IPv4Address], IPv6Address], inside: IPv4Address
) -> None:
    assert why_not_public(inside) is not None
    assert why_not_public(embed(inside)) is not None


@given(st.ip_addresses())
def test_what_is_public_is_so_for_the_standard_library_too(address: IPv4Address | IPv6Address) -> None:
    """It denies less than we do, and nothing that we allow."""
    assert why_not_public(address) is not None or address.is_global


@given(st.integers(0, 2**128 - 1).map(IPv6Address))
def test_of_ipv6_only_what_was_given_out_is_public(address: IPv6Address) -> None:
    given_out = address in IPv6Network("2000::/3") or address in IPv6Network("64:ff9b::/96")

    assert given_out or why_not_public(address) is not None


@pytest.mark.parametrize("address", ["fe80::1%eth0", "2a00:1450::1%1", "::1%lo"])
def test_an_address_with_a_zone_is_never_public(address: str) -> None:
    assert why_not_public(ip_address(address)) is not None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.0.0.7", "private, 10.0.0.0/8"),
        ("169.254.169.254", "link-local: a cloud's metadata, 169.254.0.0/16"),
        ("::ffff:169.254.169.254", "link-local: a cloud's metadata, 169.254.0.0/16"),
        ("64:ff9b::7f00:1", "loopback, 127.0.0.0/8"),
        ("::1", "loopback, ::1/128"),
        ("::", "unspecified, ::/128"),
        ("fd00:ec2::254", "private, fc00::/7"),
        ("4000::1", "not given out for the internet, outside 2000::/3"),
    ],
)
def test_the_reason_names_the_block(address: str, words: str) -> None:
    assert words == why_not_public(ip_address(address))


def test_each_block_has_words() -> None:
    assert all([*DENIED_V4.values(), *DENIED_V6.values()])


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return why_not_public(address) is None
