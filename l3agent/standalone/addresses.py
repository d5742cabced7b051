# SPDX-License-Identifier: Apache-2.0
"""Readers of names and addresses in a topology file; each returns a valid value or records a problem."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_interface, ip_network

from l3agent.model.states import Address, Interface, Network
from l3agent.model.validators import is_device, is_name, is_unicast
from l3agent.standalone.document import Item


def read_name(item: Item, name: str) -> bool:
    """Return True if a key is a valid name, else record a problem.

    :param item: the value of the key.
    """
    if is_name(name):
        return True
    item.fail("a name begins with a letter and consists of at most 60 letters, digits and . _ -", value=name)
    return False


def read_device(item: Item) -> str | None:
    """Return the name of a network interface."""
    text = item.text()
    if text is not None and not is_device(text):
        item.fail("not an interface name (at most 15 ASCII characters, no / : or space)")
        return None
    return text


def read_address(item: Item, *, link_local: bool = False) -> Address | None:
    """Return a unicast address.

    :param link_local: accept IPv6 link-local addresses, which next hops may have.
    """
    text = item.text()
    if text is None:
        return None
    try:
        address = ip_address(_reject_zone(text))
        if link_local and address.version == 6 and address.is_link_local:
            return address
        return _require_unicast(item, address)
    except ValueError:
        item.fail("not an IP address")
        return None


def read_interface(item: Item) -> tuple[Address, int | None] | None:
    """Return an address and its prefix length, the latter None if the file gives none."""
    text = item.text()
    if text is None:
        return None
    if "/" not in text:
        address = read_address(item)
        return None if address is None else (address, None)
    try:
        interface = ip_interface(_reject_zone(text))
    except ValueError:
        item.fail("not an IP address with a prefix length, such as 10.0.0.5/24")
        return None
    address = _require_unicast(item, interface.ip)
    return None if address is None else (address, interface.network.prefixlen)


def read_network(item: Item) -> Network | None:
    """Return the destination of a route; host bits must be zero."""
    text = item.text()
    if text is None:
        return None
    try:
        network = ip_network(_reject_zone(text), strict=False)
    except ValueError:
        item.fail("not a network, such as 10.0.0.0/24")
        return None
    if "/" not in text:
        item.fail(f"the prefix length is missing, such as {network.network_address}/24")
        return None
    if str(ip_interface(text).ip) != str(network.network_address):
        item.fail(f"host bits are set, the network is {network}")
        return None
    if network.is_multicast or network.is_loopback or network.is_link_local:
        item.fail("multicast, loopback and link-local addresses are not routed")
        return None
    return network


def read_subnet_range(item: Item) -> Network | None:
    """Return the range of a subnet."""
    network = read_network(item)
    if network is None:
        return None
    first = network.network_address
    mapped = isinstance(first, IPv6Address) and first.ipv4_mapped is not None
    if network.prefixlen == 0 or first.is_unspecified or mapped:
        item.fail("this range has no addresses for hosts")
        return None
    return network


def as_interface(address: Address, prefix_length: int) -> Interface:
    """Return an address with a prefix length."""
    return ip_interface((address, prefix_length))


def _reject_zone(text: str) -> str:
    # The standard library accepts "2001:db8::1%eth0"; a zone has a meaning on one machine only.
    if "%" in text:
        raise ValueError(text)
    return text


def _require_unicast(item: Item, address: Address) -> Address | None:
    if address.is_link_local or not is_unicast(address.packed):
        item.fail("not a routable unicast address")
        return None
    return address
