# SPDX-License-Identifier: Apache-2.0
"""Recognises connections that the rules of a router redirected from the metadata address.

The rules redirect TCP port 80 of 169.254.169.254 and fe80::a9fe:a9fe to the listening socket. A client that connects to
the port of the socket itself has another original destination: its own, or none.
"""

from __future__ import annotations

import socket
from struct import Struct

from l3agent.metadata.proxy_protocol import unmap

#: SO_ORIGINAL_DST (linux/netfilter_ipv4.h) and IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv6/ip6_tables.h).
_ORIGINAL_DST = 80
#: SOL_IP and SOL_IPV6 (linux/socket.h).
_SOL_IP, _SOL_IPV6 = 0, 41
#: struct sockaddr_in: family, port, address; padding.
_SOCKADDR_IN = Struct("!2xH4s8x")
#: struct sockaddr_in6: family, port, flow information, address, scope.
_SOCKADDR_IN6 = Struct("!2xH4x16s4x")

METADATA_PORT = 80
METADATA_IPV4 = socket.inet_pton(socket.AF_INET, "169.254.169.254")
METADATA_IPV6 = socket.inet_pton(socket.AF_INET6, "fe80::a9fe:a9fe")

Endpoint = tuple[bytes, int]


def source_of(name: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """Return the packed address and port of a peer; an IPv4-mapped address as IPv4.

    :param name: as accept(2) returns it.
    """
    host = name[0]
    if ":" not in host:
        return socket.inet_pton(socket.AF_INET, host), name[1]
    # A link-local address has a zone: fe80::1%qr-x.
    return unmap(socket.inet_pton(socket.AF_INET6, host.partition("%")[0])), name[1]


def redirected_from(connection: socket.socket, source: bytes) -> Endpoint | None:
    """Return the metadata address and port if the connection was redirected from there, otherwise None.

    :param source: packed address of the client, which selects the address family.
    """
    try:
        if len(source) == 4:
            port, address = _SOCKADDR_IN.unpack(connection.getsockopt(_SOL_IP, _ORIGINAL_DST, _SOCKADDR_IN.size))
            expected = METADATA_IPV4
        else:
            port, address = _SOCKADDR_IN6.unpack(connection.getsockopt(_SOL_IPV6, _ORIGINAL_DST, _SOCKADDR_IN6.size))
            expected = METADATA_IPV6
    except OSError:
        # ENOENT: conntrack has no entry. ENOPROTOOPT: nothing in this namespace translates addresses.
        return None
    return (address, port) if (address, port) == (expected, METADATA_PORT) else None
