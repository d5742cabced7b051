# SPDX-License-Identifier: Apache-2.0
"""A thread that announces addresses to the neighbours (gratuitous ARP, unsolicited NA), several times.

A packet socket stays open while its namespace has something to announce. Closing one waits for an RCU grace period,
so a thread of its own does it; and a process that is killed leaves few for the kernel to close one after the other
(with one socket kept for each of 200 routers its successor had to wait 9 s for the lock).

It sends the frames of a device in one system call: every call gives up the interpreter's lock and has to wait for it
again, against the kernel thread meanwhile (thirteen calls per router made a build 2 ms longer).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.netlink.announce import frame
from l3agent.dataplane.netlink.rtnl import mac_bytes
from l3agent.model.states import Address

LOG = logging.getLogger(__name__)


@dataclass
class _Round:
    """Addresses of one device that are announced together, ``remaining`` times more."""

    namespace: str
    device: str
    frames: dict[Address, bytes]
    remaining: int


class Announcer:
    """Announces each address ``repeats`` times at an interval.

    :param repeats: how many times; 0 announces nothing.
    :param interval: seconds between two announcements of one address.
    :param close: schedules the closing of a socket in another thread.
    """

    def __init__(self, repeats: int, interval: float, close: Callable[[Callable[[], None]], None]) -> None:
        self._repeats = repeats
        self._interval = interval
        self._close = close
        self._packets: dict[str, socket.socket] = {}
        self._idle: list[str] = []
        self._has_new = False
        self._wake = threading.Condition()
        self._sequence = itertools.count()
        self._due: list[tuple[float, int, _Round]] = []
        self._rounds: dict[str, list[_Round]] = {}
        threading.Thread(target=self._run, name="announcer", daemon=True).start()

    def announce(
        self,
        namespace: str,
        device: str,
        mac: str,
        addresses: Iterable[Address],
        *,
        open_packet: Callable[[], socket.socket],
    ) -> None:
        """Announce addresses of a device; a newer announcement of an address replaces an older one.

        :param open_packet: makes a packet socket in the namespace; called in the calling thread, unless one is open.
        """
        sender = mac_bytes(mac)
        frames = {address: frame(sender, address) for address in addresses}
        if not frames or not self._repeats:
            return
        new = _Round(namespace, device, frames, self._repeats)
        with self._wake:
            if namespace not in self._packets:
                self._packets[namespace] = open_packet()
            self._cancel(namespace, device, frames)
            self._rounds.setdefault(namespace, []).append(new)
            heapq.heappush(self._due, (time.monotonic(), next(self._sequence), new))
            self._has_new = True

    def wake(self) -> None:
        """Wake the thread if announcements were added since the last call; it does not wake by itself."""
        if self._has_new:
            with self._wake:
                self._has_new = False
                self._wake.notify()

    def withdraw(self, namespace: str, device: str | None = None, address: Address | None = None) -> None:
        """Stop announcing: one address of a device, all addresses of a device, or all of a namespace."""
        with self._wake:
            if device is not None:
                self._cancel(namespace, device, None if address is None else (address,))
                return
            for one in self._rounds.get(namespace, ()):
                one.frames.clear()
            self._end_rounds(namespace)

    # ---- private ---------------------------------------------------------------------------------------------

    def _cancel(self, namespace: str, device: str, addresses: Iterable[Address] | None) -> None:
        for one in self._rounds.get(namespace, ()):
            if one.device == device:
                for address in list(one.frames) if addresses is None else addresses:
                    one.frames.pop(address, None)

    def _run(self) -> None:
        while True:
            for packet, device, frames in self._pop_due():
                try:
                    syscalls.send_frames(packet, device, frames)
                except (OSError, ValueError) as exc:
                    # The device or the namespace was removed meanwhile, and its socket may be closed.
                    LOG.debug("cannot send announcements on %s: %s", device, exc)
            self._close_idle()

    def _pop_due(self) -> list[tuple[socket.socket, str, list[bytes]]]:
        with self._wake:
            now = time.monotonic()
            while not self._due or self._due[0][0] > now:
                self._wake.wait(self._due[0][0] - now if self._due else None)
                now = time.monotonic()
            due_sends = []
            while self._due and self._due[0][0] <= now:
                due = heapq.heappop(self._due)[2]
                if due.frames:
                    due_sends.append((self._packets[due.namespace], due.device, list(due.frames.values())))
                self._reschedule(due, now)
            return due_sends

    def _reschedule(self, sent: _Round, now: float) -> None:
        sent.remaining -= 1
        if sent.frames and sent.remaining:
            heapq.heappush(self._due, (now + self._interval, next(self._sequence), sent))
        elif others := [one for one in self._rounds.get(sent.namespace, ()) if one is not sent]:
            self._rounds[sent.namespace] = others
        else:
            self._rounds.pop(sent.namespace, None)
            self._idle.append(sent.namespace)

    def _close_idle(self) -> None:
        """Close sockets after their last round was sent, unless a new announcement was added meanwhile."""
        with self._wake:
            for namespace in self._idle:
                if namespace not in self._rounds:
                    self._end_rounds(namespace)
            self._idle.clear()

    def _end_rounds(self, namespace: str) -> None:
        self._rounds.pop(namespace, None)
        packet = self._packets.pop(namespace, None)
        if packet is not None:
            self._close(packet.close)
