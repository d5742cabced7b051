# SPDX-License-Identifier: Apache-2.0
"""Sends through DEVICE what a tenant's machine can send to the node: ``python intrude.py DEVICE MAC ADDRESS``.

Router advertisements with a prefix to all nodes, ARP requests (an ordinary one and a probe, RFC 5227) for an address of
the node, and UDP datagrams to it in frames for the MAC address of the node's device. Prints how many ARP replies came.
"""

import socket
import struct
import sys

RA_PREFIX = socket.inet_pton(socket.AF_INET6, "2001:db8:bad::")
ALL_NODES = socket.inet_pton(socket.AF_INET6, "ff02::1")
ROUTER = socket.inet_pton(socket.AF_INET6, "fe80::bad")


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def advertisement(mac: bytes) -> bytes:
    """Return a frame with a router advertisement (RFC 4861 section 4.2)."""
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + RA_PREFIX
    body = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
    pseudo = ROUTER + ALL_NODES + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + ROUTER + ALL_NODES
    return bytes.fromhex("333300000001") + mac + b"\x86\xdd" + header + body


def arp_request(mac: bytes, sender: bytes, target: bytes) -> bytes:
    """Return a frame that asks for the MAC address of a target."""
    head = b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return head + mac + sender + bytes(6) + target


def datagram(mac: bytes, node: bytes, sender: bytes, target: bytes) -> bytes:
    """Return a frame with a UDP datagram without checksum to port 9 (discard)."""
    udp = struct.pack("!HHHH", 40000, 9, 8, 0)
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, sender, target)
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return node + mac + b"\x08\x00" + head + udp


def main(device: str, node: str, address: str) -> None:
    """Send all of it; print the number of ARP replies once the last frame had its time."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as packet:
        packet.bind((device, 0))
        mac, target = packet.getsockname()[4], socket.inet_aton(address)
        sender = socket.inet_aton("10.0.0.99")
        for frame in (
            advertisement(mac),
            arp_request(mac, sender, target),
            arp_request(mac, bytes(4), target),
            datagram(mac, bytes.fromhex(node.replace(":", "")), sender, target),
        ):
            packet.send(frame)
        packet.settimeout(1)
        replies = 0
        try:
            while True:
                frame = packet.recv(2048)
                replies += frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02"
        except TimeoutError:
            print(replies)


if __name__ == "__main__":
    main(*sys.argv[1:])
