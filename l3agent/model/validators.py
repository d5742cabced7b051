# SPDX-License-Identifier: Apache-2.0
"""Validators of ids, names and addresses in payloads, in topology files and on the socket of the data plane.

Both the agent and the data plane apply them: the data plane does not trust the agent, and uses names for devices and
files. Addresses are tested as bytes, which takes a tenth of the time of a test of :mod:`ipaddress` values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from l3agent.model.states import Network

# Ids become names of devices, namespaces and files: only a UUID (36 characters) or a shorter id of the same characters.
_ID = re.compile(r"[0-9a-fA-F-]{11,36}")
# RFC 9562, section 4: the text form of a UUID.
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# A name becomes a file name and part of the name of a namespace; the initial letter rules out addresses.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}")
# The kernel allows 15 bytes in a device name, without slash, colon and white space (dev_valid_name). This
# pattern allows ASCII only.
_DEVICE = re.compile(r"[!-.0-9;-~]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# The lowest bit of the first byte marks a group address (IEEE 802).
_UNICAST_MAC = re.compile(r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
# RFC 791: every link carries 68 bytes. 65535: the longest IPv4 packet.
MTU_MIN, MTU_MAX = 68, 65535

#: First bytes of IPv4 addresses: never unicast (loopback, multicast); unicast except for single addresses.
_FIRST_BYTES_EXCLUDED = bytes((127, *range(224, 240)))
_FIRST_BYTES_MIXED = frozenset((0, 255))
_ADDRESSES_EXCLUDED = frozenset((b"\0\0\0\0", b"\xff\xff\xff\xff", bytes(16), bytes(15) + b"\1"))
_MAPPED = bytes(10) + b"\xff\xff"


def is_id(text: str) -> bool:
    """Return True if an id is safe in the name of a device, namespace or file."""
    return _ID.fullmatch(text) is not None


def is_uuid(value: object) -> bool:
    """Return True if a value is a UUID in text form."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def is_name(text: str) -> bool:
    """Return True if a name is valid for an object of a topology file."""
    return _NAME.fullmatch(text) is not None


def is_device(text: str) -> bool:
    """Return True if the kernel accepts a device name."""
    return _DEVICE.fullmatch(text) is not None and text not in (".", "..")


def is_mac(text: str) -> bool:
    """Return True if a text is a unicast or group MAC address in lower case."""
    return _MAC.fullmatch(text) is not None


def is_unicast_mac(text: str) -> bool:
    """Return True if a text is a unicast MAC address in lower case."""
    return _UNICAST_MAC.fullmatch(text) is not None


def is_unicast(packed: bytes) -> bool:
    """Return True if bytes are a unicast IPv4 or IPv6 address, which may be IPv6 link-local."""
    if len(packed) == 4:
        return packed[0] not in _FIRST_BYTES_EXCLUDED and packed not in _ADDRESSES_EXCLUDED
    return len(packed) == 16 and packed[0] != 0xFF and packed not in _ADDRESSES_EXCLUDED and packed[:12] != _MAPPED


def is_link_local(packed: bytes) -> bool:
    """Return True if the bytes of an address are in fe80::/10."""
    return packed[0] == 0xFE and len(packed) == 16 and packed[1] & 0xC0 == 0x80


def all_unicast(packed: bytes) -> bool:
    """Return True if concatenated IPv4 addresses are all unicast."""
    firsts = packed[::4]
    if len(firsts.translate(None, _FIRST_BYTES_EXCLUDED)) != len(firsts):
        return False
    return _FIRST_BYTES_MIXED.isdisjoint(firsts) or all(map(is_unicast, _split_ipv4(packed)))


def is_routable(network: Network) -> bool:
    """Return True if a network is routable: not multicast, loopback or link-local. A whole family (``/0``) is."""
    own_link = network.version == 6 and network.is_link_local
    return not (network.is_multicast or network.is_loopback or own_link)


def _split_ipv4(packed: bytes) -> Iterable[bytes]:
    return (packed[at : at + 4] for at in range(0, len(packed), 4))
