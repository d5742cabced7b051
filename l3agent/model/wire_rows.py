# SPDX-License-Identifier: Apache-2.0
"""Floating IPs and permanent neighbours on the wire: sorted rows of a fixed number of bytes.

A row costs less than a list, and a binary search finds where two sorted sets of rows differ.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv6Address

from l3agent.exceptions import InvalidState
from l3agent.model.states import Address, FloatingIP, Neighbour
from l3agent.model.validators import all_unicast, is_unicast, is_unicast_mac

#: A floating address and a fixed address.
FIP_BYTES = 8
#: Bytes of a device name with its NUL (``linux/if.h``).
IFNAMSIZ = 16
#: A device name, an address (IPv4 as ``::ffff:a.b.c.d``, RFC 4291 section 2.5.5.2) and a MAC address.
NEIGHBOUR_BYTES = IFNAMSIZ + 16 + 6
_MAPPED = bytes(10) + b"\xff\xff"


def pack_floating_ips(floating_ips: Iterable[FloatingIP]) -> bytes:
    """Return sorted pairs of floating and fixed address, eight bytes each."""
    return b"".join(sorted(fip.floating.packed + fip.fixed.packed for fip in floating_ips))


def unpack_floating_ips(packed: bytes) -> frozenset[FloatingIP]:
    """Return the floating IPs of rows.

    :raises InvalidState: a row has an address that is not unicast.
    """
    if type(packed) is not bytes or len(packed) % FIP_BYTES:
        raise InvalidState("floating_ips", packed, f"expected {FIP_BYTES} bytes for each pair of addresses")
    pairs = [packed[at : at + FIP_BYTES] for at in range(0, len(packed), FIP_BYTES)]
    if not all_unicast(packed):
        wrong = next(pair for pair in pairs if not all_unicast(pair))
        raise InvalidState("floating_ips", wrong, "expected the bytes of unicast addresses")
    return frozenset(FloatingIP(IPv4Address(pair[:4]), IPv4Address(pair[4:])) for pair in pairs)


def pack_neighbours(neighbours: Iterable[Neighbour]) -> bytes:
    """Return sorted rows of device name, address and MAC address."""
    return b"".join(sorted(map(_pack_neighbour, neighbours)))


def unpack_neighbours(packed: bytes, devices: Collection[str]) -> frozenset[Neighbour]:
    """Return the neighbours of rows.

    :param devices: the devices of the state.
    :raises InvalidState: a row has another device, or an address that is not unicast, or occurs twice.
    """
    if type(packed) is not bytes or len(packed) % NEIGHBOUR_BYTES:
        raise InvalidState("neighbours", packed, f"expected {NEIGHBOUR_BYTES} bytes for each neighbour")
    rows = (packed[at : at + NEIGHBOUR_BYTES] for at in range(0, len(packed), NEIGHBOUR_BYTES))
    neighbours = [_unpack_neighbour(row, devices) for row in rows]
    seen: set[tuple[str, Address]] = set()
    for one in neighbours:
        if (one.device, one.address) in seen:
            raise InvalidState(f"neighbour at {one.device}", str(one.address), "expected one MAC address")
        seen.add((one.device, one.address))
    return frozenset(neighbours)


def _pack_neighbour(neighbour: Neighbour) -> bytes:
    address = neighbour.address.packed
    mac = bytes.fromhex(neighbour.mac.replace(":", ""))
    return neighbour.device.encode().ljust(IFNAMSIZ, b"\0") + (_MAPPED + address)[-16:] + mac


def _unpack_neighbour(row: bytes, devices: Collection[str]) -> Neighbour:
    name, address = row[:IFNAMSIZ].rstrip(b"\0"), row[IFNAMSIZ : IFNAMSIZ + 16]
    device, mac = name.decode("ascii", "replace"), row[IFNAMSIZ + 16 :].hex(":")
    if device not in devices:
        raise InvalidState("neighbour: device", device, "expected the device of a port of the state")
    if address.startswith(_MAPPED):
        address = address[len(_MAPPED) :]
    if not is_unicast(address):
        raise InvalidState(f"neighbour at {device}: address", address, "expected the bytes of a unicast address")
    if not is_unicast_mac(mac):
        raise InvalidState(f"neighbour at {device}: MAC address", mac, "expected a unicast MAC address")
    return Neighbour(device, IPv4Address(address) if len(address) == 4 else IPv6Address(address), mac)


def difference(before: bytes, after: bytes, size: int) -> tuple[bytes, bytes]:
    """Return the differing middle parts of two sequences of rows, without their common prefix and suffix.

    :param size: bytes of one row.
    """
    rows = min(len(before), len(after)) // size
    head = size * bisect_left(range(1, rows + 1), True, key=lambda n: before[: n * size] != after[: n * size])
    left, right = before[head:], after[head:]
    rows -= head // size
    tail = size * bisect_left(range(1, rows + 1), True, key=lambda n: left[-n * size :] != right[-n * size :])
    return left[: len(left) - tail], right[: len(right) - tail]
