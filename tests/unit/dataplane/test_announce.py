# SPDX-License-Identifier: Apache-2.0
"""Announcement frames (their checksum is verified by tcpdump in the functional tests), and when they are sent."""

from __future__ import annotations

import socket
import threading
from ipaddress import IPv4Address, IPv6Address
from struct import unpack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel_backend.announcer import Announcer
from l3agent.dataplane.netlink.announce import frame
from l3agent.model.states import Address
from l3agent.testing import wait_until

MAC = bytes.fromhex("fa163e000001")
FIRST, SECOND = IPv4Address("203.0.113.100"), IPv4Address("203.0.113.101")


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_announced_by_a_request_for_itself(address: IPv4Address) -> None:
    data = frame(MAC, address)
    assert data[:14] == b"\xff" * 6 + MAC + b"\x08\x06"
    assert data[14:22] == bytes.fromhex("0001080006040001")
    assert data[22:] == MAC + address.packed + bytes(6) + address.packed


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_announced_by_an_unsolicited_advertisement(address: IPv6Address) -> None:
    data = frame(MAC, address)
    assert data[:14] == bytes.fromhex("333300000001") + MAC + b"\x86\xdd"
    header, body = data[14:54], data[54:]
    length, following, hops = unpack(">HBB", header[4:8])
    assert (length, following, hops) == (len(body), 58, 255)
    assert header[8:24] == address.packed
    assert header[24:40] == IPv6Address("ff02::1").packed
    kind, code, _, flags = unpack(">BBHI", body[:8])
    # Router and override, but not solicited.
    assert (kind, code, flags) == (136, 0, 0xA0000000)
    assert body[8:24] == address.packed
    assert body[24:] == b"\2\1" + MAC
    assert ones_complement_sum(header[8:40] + length.to_bytes(4, "big") + bytes([0, 0, 0, 58]) + body) == 0xFFFF


def ones_complement_sum(data: bytes) -> int:
    """Sum as RFC 1071 does: over data with its checksum the result is all ones."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Wire:
    """Stands for the packet sockets: remembers what was sent, and fails for devices that are gone."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.gone: dict[str, Exception] = {}
        self.tried = threading.Event()

    def send(self, packet: socket.socket, device: str, frames: Any) -> None:
        self.tried.set()
        if device in self.gone:
            raise self.gone[device]
        self.sent += [(device, one) for one in frames]

    def count(self, address: Address, device: str = "qg-a") -> int:
        return self.sent.count((device, frame(MAC, address)))


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    wire = Wire()
    monkeypatch.setattr(syscalls, "send_frames", wire.send)
    return wire


def announce(announcer: Announcer, *addresses: Address, device: str = "qg-a", namespace: str = "qrouter-1") -> None:
    announcer.announce(namespace, device, MAC.hex(":"), addresses, open_packet=socket.socket)
    announcer.wake()


def an_announcer(repeats: int, interval: float) -> Announcer:
    return Announcer(repeats, interval, lambda close: close())


def test_an_address_is_announced_as_often_as_wanted_and_no_more(wire: Wire) -> None:
    announcer = an_announcer(3, 0.01)
    announce(announcer, FIRST)
    wait_until(lambda: wire.count(FIRST) == 3)
    announce(announcer, SECOND)
    wait_until(lambda: wire.count(SECOND) == 3)
    assert wire.count(FIRST) == 3


def test_nothing_is_announced_when_nothing_should_be(wire: Wire) -> None:
    announce(an_announcer(0, 0.01), FIRST)
    announce(an_announcer(1, 0.01), SECOND)
    wait_until(lambda: wire.count(SECOND) == 1)
    assert wire.count(FIRST) == 0


def test_a_withdrawn_address_is_announced_no_more_and_the_others_are(wire: Wire) -> None:
    announcer = an_announcer(3, 0.05)
    announce(announcer, FIRST, SECOND)
    wait_until(lambda: wire.count(FIRST) == 1)
    announcer.withdraw("qrouter-1", "qg-a", FIRST)
    wait_until(lambda: wire.count(SECOND) == 3)
    assert wire.count(FIRST) == 1


def test_a_withdrawn_device_is_silent_and_the_others_are_not(wire: Wire) -> None:
    announcer = an_announcer(3, 0.05)
    announce(announcer, FIRST)
    announce(announcer, SECOND, device="qr-a")
    wait_until(lambda: wire.count(FIRST) == 1)
    announcer.withdraw("qrouter-1", "qg-a")
    wait_until(lambda: wire.count(SECOND, "qr-a") == 3)
    assert wire.count(FIRST) == 1


def test_a_withdrawn_namespace_is_silent_and_the_others_are_not(wire: Wire) -> None:
    announcer = an_announcer(3, 0.05)
    announce(announcer, FIRST)
    announce(announcer, SECOND, namespace="qrouter-2", device="qg-b")
    wait_until(lambda: wire.count(FIRST) == 1)
    announcer.withdraw("qrouter-1")
    wait_until(lambda: wire.count(SECOND, "qg-b") == 3)
    assert wire.count(FIRST) == 1


def test_a_newer_announcement_takes_the_place_of_an_older_one(wire: Wire) -> None:
    announcer = an_announcer(3, 0.05)
    announce(announcer, FIRST)
    wait_until(lambda: wire.count(FIRST) == 1)
    other = "02:00:00:00:00:01"
    announcer.announce("qrouter-1", "qg-a", other, [FIRST], open_packet=socket.socket)
    announcer.wake()
    newer = ("qg-a", frame(bytes.fromhex(other.replace(":", "")), FIRST))
    wait_until(lambda: wire.sent.count(newer) == 3)
    assert wire.count(FIRST) == 1


@pytest.mark.parametrize("trouble", [OSError(19, "No such device"), ValueError("file descriptor cannot be -1")])
def test_a_device_or_socket_that_is_gone_never_silences_the_others(wire: Wire, trouble: Exception) -> None:
    wire.gone["qg-gone"] = trouble
    announcer = an_announcer(2, 0.01)
    announce(announcer, FIRST, device="qg-gone", namespace="qrouter-2")
    wait_until(wire.tried.is_set)
    announce(announcer, SECOND)
    wait_until(lambda: wire.count(SECOND) == 2)


def test_a_socket_is_kept_for_the_repeats_and_closed_after_the_last(wire: Wire) -> None:
    opened: list[socket.socket] = []

    def open_packet() -> socket.socket:
        opened.append(socket.socket())
        return opened[-1]

    announcer = an_announcer(2, 0.05)
    announcer.announce("qrouter-1", "qg-a", MAC.hex(":"), [FIRST], open_packet=open_packet)
    announcer.announce("qrouter-1", "qr-a", MAC.hex(":"), [SECOND], open_packet=open_packet)
    announcer.wake()
    wait_until(lambda: wire.count(FIRST) == wire.count(SECOND, "qr-a") == 2)
    wait_until(lambda: opened[0].fileno() == -1)
    announcer.announce("qrouter-1", "qg-a", MAC.hex(":"), [FIRST], open_packet=open_packet)
    announcer.wake()
    wait_until(lambda: wire.count(FIRST) == 4)
    assert len(opened) == 2
