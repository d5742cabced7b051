# SPDX-License-Identifier: Apache-2.0
"""A thread that tells the neighbours where addresses live, several times over some seconds, from kept sockets."""

from __future__ import annotations

import heapq
import itertools
import logging
import socket
import threading
import time
from collections.abc import Iterable

from l3agent.dataplane.netlink.announce import frame
from l3agent.dataplane.netlink.rtnl import mac_bytes
from l3agent.model.states import Address

LOG = logging.getLogger(__name__)

#: (namespace, device, address): what is announced; a newer announcement of it takes the place of an older one.
_Subject = tuple[str, str, Address]


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
        self._due: list[tuple[float, int, int, _Subject]] = []
        self._current: dict[_Subject, tuple[int, socket.socket, bytes]] = {}
        threading.Thread(target=self._run, name="announcer", daemon=True).start()

    def announce(
        self, namespace: str, packet: socket.socket, device: str, mac: str, addresses: Iterable[Address]
    ) -> None:
        """Announce addresses of a device; ``packet`` is a packet socket of its namespace."""
        now = time.monotonic()
        with self._wake:
            for address in addresses if self._repeats else ():
                subject = (namespace, device, address)
                number = next(self._numbers)
                self._current[subject] = (number, packet, frame(mac_bytes(mac), address))
                heapq.heappush(self._due, (now, number, self._repeats, subject))
            self._wake.notify()

    def withdraw(self, namespace: str, device: str | None = None, address: Address | None = None) -> None:
        """Announce no more: one address of a device, or everything of a namespace."""
        with self._wake:
            if device is not None and address is not None:
                self._current.pop((namespace, device, address), None)
                return
            for subject in [one for one in self._current if one[0] == namespace]:
                del self._current[subject]

    # ---- private ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            for packet, data, device in self._take_due():
                try:
                    packet.sendto(data, (device, 0))
                except OSError as exc:
                    # The device or the namespace went between the decision and now.
                    LOG.debug("announcement on %s not sent: %s", device, exc)

    def _take_due(self) -> list[tuple[socket.socket, bytes, str]]:
        with self._wake:
            now = time.monotonic()
            while not self._due or self._due[0][0] > now:
                self._wake.wait(self._due[0][0] - now if self._due else None)
                now = time.monotonic()
            taken = []
            while self._due and self._due[0][0] <= now:
                taken += self._take_one(now)
            return taken

    def _take_one(self, now: float) -> list[tuple[socket.socket, bytes, str]]:
        _, number, left, subject = heapq.heappop(self._due)
        current = self._current.get(subject)
        if current is None or current[0] != number:
            return []
        if left > 1:
            heapq.heappush(self._due, (now + self._interval, number, left - 1, subject))
        else:
            del self._current[subject]
        return [(current[1], current[2], subject[1])]
