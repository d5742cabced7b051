# SPDX-License-Identifier: Apache-2.0
"""The header of the PROXY protocol, version 2 (doc/proxy-protocol.txt of haproxy, section 2.2)."""

from __future__ import annotations

from struct import Struct

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
#: Version 2, command PROXY.
_PROXY = 0x21
#: Address family and protocol: TCP over IPv4, TCP over IPv6.
_TCP4, _TCP6 = 0x11, 0x21
#: PP2_TYPE_UNIQUE_ID: at most 128 bytes; haproxy returns it as ``fc_pp_unique_id``.
_UNIQUE_ID = 0x05
_MAPPED = bytes(10) + b"\xff\xff"

_HEAD = Struct("!12sBBH")
_PORTS = Struct("!HH")
_TLV = Struct("!BH")


def encode_router(router: str) -> bytes:
    """Return the type-length-value field that carries the id of a router."""
    value = router.encode("ascii")
    return _TLV.pack(_UNIQUE_ID, len(value)) + value


def encode_header(source: tuple[bytes, int], destination: tuple[bytes, int], fields: bytes) -> bytes:
    """Return the header of a connection.

    :param source: packed address and port of the client.
    :param destination: packed address, of the same family as the source, and port.
    :param fields: type-length-value fields, as of :func:`encode_router`.
    """
    addresses = source[0] + destination[0] + _PORTS.pack(source[1], destination[1])
    family = _TCP4 if len(source[0]) == 4 else _TCP6
    return _HEAD.pack(_SIGNATURE, _PROXY, family, len(addresses) + len(fields)) + addresses + fields


def unmap(address: bytes) -> bytes:
    """Return the IPv4 address of an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2); others unchanged."""
    return address[12:] if address[:12] == _MAPPED else address
