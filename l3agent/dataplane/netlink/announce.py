# SPDX-License-Identifier: Apache-2.0
"""Frames that announce the MAC address of an address to its neighbours.

IPv4: an ARP announcement (RFC 5227 section 3), which is a request for the sender's own address. IPv6: an unsolicited
neighbour advertisement with the override flag (RFC 4861 section 7.2.6) to all nodes.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from struct import pack, unpack

from l3agent.model.states import Address

ETHERTYPE_ARP = 0x0806
ETHERTYPE_IPV6 = 0x86DD

_BROADCAST = b"\xff" * 6
#: MAC address of the group ff02::1 (RFC 2464 section 7).
_ALL_NODES_MAC = bytes.fromhex("333300000001")
_ALL_NODES = IPv6Address("ff02::1").packed
_ICMPV6, _NEIGHBOUR_ADVERTISEMENT, _TARGET_LINK_LAYER = 58, 136, 2
_ROUTER, _OVERRIDE = 0x80000000, 0x20000000


def frame(mac: bytes, address: Address) -> bytes:
    """Return the Ethernet frame that announces ``address`` at ``mac`` (six bytes)."""
    if isinstance(address, IPv4Address):
        return _arp_announcement(mac, address.packed)
    return _neighbour_advertisement(mac, address.packed)


def _arp_announcement(mac: bytes, address: bytes) -> bytes:
    ethernet = _BROADCAST + mac + pack(">H", ETHERTYPE_ARP)
    # Hardware Ethernet, protocol IPv4, lengths 6 and 4, operation request (RFC 826).
    return ethernet + pack(">HHBBH", 1, 0x0800, 6, 4, 1) + mac + address + bytes(6) + address


def _neighbour_advertisement(mac: bytes, address: bytes) -> bytes:
    option = bytes((_TARGET_LINK_LAYER, 1)) + mac
    body = pack(">I", _ROUTER | _OVERRIDE) + address + option
    unsummed = bytes((_NEIGHBOUR_ADVERTISEMENT, 0, 0, 0)) + body
    pseudo = address + _ALL_NODES + pack(">II", len(unsummed), _ICMPV6)
    icmp = bytes((_NEIGHBOUR_ADVERTISEMENT, 0)) + pack(">H", _checksum(pseudo + unsummed)) + body
    # Version 6, hop limit 255 (RFC 4861 section 7.1.2).
    header = pack(">IHBB", 6 << 28, len(icmp), _ICMPV6, 255) + address + _ALL_NODES
    return _ALL_NODES_MAC + mac + pack(">H", ETHERTYPE_IPV6) + header + icmp


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of data of even length."""
    total: int = sum(unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
