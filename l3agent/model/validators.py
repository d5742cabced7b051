# SPDX-License-Identifier: Apache-2.0
"""The forms of ids, names and addresses: one for payloads, for topology files and for what crosses the socket.

The agent holds to them, and the data plane does not take its word for it: names become devices and files there.
Addresses are tested as bytes, which takes a tenth of the time of their values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from l3agent.model.states import Network

# Ids become names of devices, namespaces and files: a UUID (36 characters) or what looks like one, nothing else.
_ID = re.compile(r"[0-9a-fA-F-]{11,36}")
# RFC 9562, section 4: the text form of a UUID.
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
# A name becomes a file name and part of the name of a namespace; one that begins with a letter is never an address.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,59}")
# The kernel keeps 15 bytes of a device name and refuses a slash, a colon and white space (dev_valid_name); of others
# than ASCII ones there are none.
_DEVICE = re.compile(r"[!-.0-9;-~]{1,15}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# The lowest bit of the first byte marks a group.
_UNICAST_MAC = re.compile(r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
# RFC 791: every link carries 68 bytes. 65535: the longest IPv4 packet.
MTU_MIN, MTU_MAX = 68, 65535

#: First bytes of IPv4 addresses: those that no machine has (loopback, multicast), those that some have.
_NEVER = bytes((127, *range(224, 240)))
_SELDOM = frozenset((0, 255))
_NO_MACHINE = frozenset((b"\0\0\0\0", b"\xff\xff\xff\xff", bytes(16), bytes(15) + b"\1"))
_MAPPED = bytes(10) + b"\xff\xff"


def is_id(text: str) -> bool:
    """Tell whether an id is safe in the name of a device, a namespace or a file."""
    return _ID.fullmatch(text) is not None


def is_uuid(value: object) -> bool:
    """Return True if a value is a UUID in text form."""
    return isinstance(value, str) and _UUID.fullmatch(value) is not None


def is_name(text: str) -> bool:
    """Tell whether a thing of a topology file may have a name."""
    return _NAME.fullmatch(text) is not None


def is_device(text: str) -> bool:
    """Tell whether the kernel takes the name of a device."""
    return _DEVICE.fullmatch(text) is not None and text not in (".", "..")


def is_mac(text: str) -> bool:
    """Tell whether a text is a MAC address in lower case, of one interface or of several."""
    return _MAC.fullmatch(text) is not None


def is_unicast_mac(text: str) -> bool:
    """Tell whether a text is the MAC address of one interface, in lower case."""
    return _UNICAST_MAC.fullmatch(text) is not None


def is_unicast(packed: bytes) -> bool:
    """Tell whether bytes are an address that one machine can have; IPv6 link-local ones are among them."""
    if len(packed) == 4:
        return packed[0] not in _NEVER and packed not in _NO_MACHINE
    return len(packed) == 16 and packed[0] != 0xFF and packed not in _NO_MACHINE and packed[:12] != _MAPPED


def is_link_local(packed: bytes) -> bool:
    """Tell whether an IPv6 address, as its bytes, is one of fe80::/10."""
    return packed[0] == 0xFE and len(packed) == 16 and packed[1] & 0xC0 == 0x80


def all_unicast(packed: bytes) -> bool:
    """Tell the same of many IPv4 addresses, one behind the other."""
    firsts = packed[::4]
    if len(firsts.translate(None, _NEVER)) != len(firsts):
        return False
    return _SELDOM.isdisjoint(firsts) or all(map(is_unicast, _cut(packed)))


def is_routable(network: Network) -> bool:
    """Tell whether packets can be routed to a network; the whole of a family (``/0``) is among them."""
    own_link = network.version == 6 and network.is_link_local
    return not (network.is_multicast or network.is_loopback or own_link)


def _cut(packed: bytes) -> Iterable[bytes]:
    return (packed[at : at + 4] for at in range(0, len(packed), 4))
