# SPDX-License-Identifier: Apache-2.0
"""Run as a script: send packets of each kind that conntrack does not track. The standard library only.

Arguments: source and destination, of one IP version. Each packet has its number as identification (IPv4) or hop limit
(IPv6), and the script prints how many there are.
"""

from __future__ import annotations

import socket
import struct
import sys

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_PORTS = struct.pack("!HH", 4000, 80)


def main(source: str, destination: str) -> None:
    """Send them and print their number."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    packets = list(stray(ends) if family == socket.AF_INET else [(6, tcp(ends, _RST))])
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number, (protocol, payload) in enumerate(packets, start=1):
            raw.sendto(head(ends, protocol, payload, number) + payload, (destination, 0))
    print(len(packets))


def stray(ends: bytes) -> list[tuple[int, bytes]]:
    """Return protocol and payload of each packet; ``ends`` are source and destination."""
    flags = [_RST, _FIN, _FIN | _ACK, _RST | _ACK, _SYN | _ACK, 0, 63]
    inner = struct.pack("!BBHHHBBH", 0x45, 0, 28, 7, 0, 9, 17, 0) + ends[4:] + ends[:4] + _PORTS + bytes(4)
    echo_reply, timestamp_reply, information_reply = (struct.pack("!BBHHH", kind, 0, 0, 5, 1) for kind in (0, 14, 16))
    errors = [struct.pack("!BBHI", kind, code, 0, 0) + inner for kind, code in ((3, 3), (11, 0), (12, 0), (4, 0))]
    unknown = struct.pack("!BBHI", 42, 0, 0, 0)
    return [
        *((6, tcp(ends, one)) for one in flags),
        *((1, checked(one)) for one in (echo_reply, timestamp_reply, information_reply, *errors, unknown)),
        (6, tcp(ends, _SYN)[:16] + b"\xba\xad\0\0"),
        (17, _PORTS + struct.pack("!HH", 8, 0xBAAD)),
        (132, _PORTS + bytes(4) + b"\xba\xad\xba\xad" + struct.pack("!BBHI", 0, 3, 20, 1) + bytes(12)),
        (33, _PORTS + struct.pack("!BBHBBHI", 4, 0, 0, 5, 0, 0, 1)),
    ]


def tcp(ends: bytes, flags: int) -> bytes:
    """Return a TCP header."""
    plain = _PORTS + struct.pack("!IIBBHHH", 1, 0, 80, flags, 0, 0, 0)
    return plain[:16] + checksum(ends + struct.pack("!HH", 6, len(plain)) + plain) + plain[18:]


def checked(message: bytes) -> bytes:
    """Return an ICMP message with its checksum."""
    return message[:2] + checksum(message) + message[4:]


def checksum(data: bytes) -> bytes:
    """Return the Internet checksum (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return struct.pack("!H", ~total & 0xFFFF)


def head(ends: bytes, protocol: int, payload: bytes, number: int) -> bytes:
    """Return an IP header; the kernel fills in the checksum of an IPv4 one."""
    if len(ends) == 8:
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), number, 0, 64, protocol, 0) + ends
    return struct.pack("!IHBB", 6 << 28, len(payload), protocol, number + 63) + ends


if __name__ == "__main__":
    main(*sys.argv[1:])
