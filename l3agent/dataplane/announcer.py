# SPDX-License-Identifier: Apache-2.0
"""A thread that tells the neighbours where addresses live, several times over some seconds, from kept sockets.

It sends the frames of a device in one system call: every call gives up the interpreter's lock and has to wait for it
again, against the lane that does the kernel work meanwhile (thirteen calls a router made a build 2 ms longer).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from l3agent.dataplane import syscalls
from l3agent.dataplane.netlink.announce import frame
from l3agent.dataplane.netlink.rtnl import mac_bytes
from l3agent.model.states import Address

LOG = logging.getLogger(__name__)


@dataclass
class _Round:
    """Addresses of one device that are announced together, ``left`` times more."""

    namespace: str
    packet: socket.socket
    device: str
    frames: dict[Address, bytes]
    left: int


class Announcer:
    """Announces addresses now and again until each was announced ``repeats`` times.

    :param repeats: how many times; 0 announces nothing.
    :param interval: seconds between two announcements of one address.
    """

    def __init__(self, repeats: int, interval: float) -> None:
        self._repeats = repeats
        self._interval = interval
        self._wake = threading.Condition()
        self._numbers = itertools.count()
        self._due: list[tuple[float, int, _Round]] = []
        self._rounds: dict[str, list[_Round]] = {}
        threading.Thread(target=self._run, name="announcer", daemon=True).start()

    def announce(
        self, namespace: str, packet: socket.socket, device: str, mac: str, addresses: Iterable[Address]
    ) -> None:
        """Announce addresses of a device; ``packet`` is a packet socket of its namespace.

        A newer announcement of an address takes the place of an older one.
        """
        sender = mac_bytes(mac)
        frames = {address: frame(sender, address) for address in addresses}
        if not frames or not self._repeats:
            return
        new = _Round(namespace, packet, device, frames, self._repeats)
        with self._wake:
            self._forget(namespace, device, frames)
            self._rounds.setdefault(namespace, []).append(new)
            heapq.heappush(self._due, (time.monotonic(), next(self._numbers), new))
            self._wake.notify()

    def withdraw(self, namespace: str, device: str | None = None, address: Address | None = None) -> None:
        """Announce no more: one address of a device, or everything of a namespace."""
        with self._wake:
            if device is not None and address is not None:
                self._forget(namespace, device, (address,))
                return
            for one in self._rounds.pop(namespace, ()):
                one.frames.clear()

    # ---- private ---------------------------------------------------------------------------------------------

    def _forget(self, namespace: str, device: str, addresses: Iterable[Address]) -> None:
        for one in self._rounds.get(namespace, ()):
            if one.device == device:
                for address in addresses:
                    one.frames.pop(address, None)

    def _run(self) -> None:
        while True:
            for packet, device, frames in self._take_due():
                try:
                    syscalls.send_frames(packet, device, frames)
                except OSError as exc:
                    # The device or the namespace went between the decision and now.
                    LOG.debug("announcements on %s not sent: %s", device, exc)

    def _take_due(self) -> list[tuple[socket.socket, str, list[bytes]]]:
        with self._wake:
            now = time.monotonic()
            while not self._due or self._due[0][0] > now:
                self._wake.wait(self._due[0][0] - now if self._due else None)
                now = time.monotonic()
            taken = []
            while self._due and self._due[0][0] <= now:
                due = heapq.heappop(self._due)[2]
                if due.frames:
                    taken.append((due.packet, due.device, list(due.frames.values())))
                self._put_back(due, now)
            return taken

    def _put_back(self, sent: _Round, now: float) -> None:
        sent.left -= 1
        if sent.frames and sent.left:
            heapq.heappush(self._due, (now + self._interval, next(self._numbers), sent))
        elif others := [one for one in self._rounds.get(sent.namespace, ()) if one is not sent]:
            self._rounds[sent.namespace] = others
        else:
            self._rounds.pop(sent.namespace, None)
