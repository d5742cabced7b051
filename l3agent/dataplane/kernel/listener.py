# SPDX-License-Identifier: Apache-2.0
"""Receives events of other programs' changes: one socket per family for all namespaces, and a watch on their pins.

The kernel leaves out changes of this process (:mod:`l3agent.dataplane.plan.events`), so that building a
router costs no observation.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import select
import socket
from collections.abc import Callable, Iterator
from struct import Struct, pack, unpack

from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.sockets import NETLINK_NETFILTER, NETLINK_ROUTE
from l3agent.dataplane.netlink.socket_filter import compile_own_filter
from l3agent.dataplane.plan.events import ROUTE_GROUPS, route_events, route_filter
from l3agent.dataplane.plan.kinds.observation import AllChanged, Event, Notice, PinRemoved
from l3agent.dataplane.plan.kinds.table import NETFILTER_GROUPS, rules_events

LOG = logging.getLogger(__name__)

_SOL_NETLINK = 270
# Socket options (linux/netlink.h, asm-generic/socket.h).
_ADD_MEMBERSHIP, _LISTEN_ALL_NSID = 1, 8
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
#: Room for the events that arrive while one state is applied; lost events lead to an observation of all states.
_BUFFER_BYTES = 16 << 20
_READ_BYTES = 1 << 16
_CONTROL_BYTES = socket.CMSG_SPACE(4)
#: struct inotify_event without the name.
_PIN_EVENT = Struct("=iIII")


class Listener:
    """Collects events until they are read; used by one thread.

    :param netns_path: the folder of the pins.
    """

    def __init__(self, netns_path: str) -> None:
        #: True if the events of all namespaces are received.
        self.receives_all = True
        self._sources: dict[int, Callable[[], Iterator[Notice]]] = {}
        self._poll = select.poll()
        # The port that the kernel gives the first socket that a process opens in a namespace (netlink_autobind).
        port = os.getpid()
        self._open(NETLINK_ROUTE, ROUTE_GROUPS, route_filter(port), route_events)
        self._open(NETLINK_NETFILTER, NETFILTER_GROUPS, compile_own_filter(port), rules_events)
        pins = syscalls.watch_removals(netns_path)
        self._sources[pins] = lambda: _removed_pins(pins)
        for descriptor in self._sources:
            self._poll.register(descriptor, select.POLLIN)

    @property
    def descriptors(self) -> list[int]:
        """Descriptors that become readable with an event."""
        return list(self._sources)

    def read(self) -> Iterator[Notice]:
        """Yield the events since the last call, each family in order."""
        # Most calls find no event; one poll checks all sockets. A socket that lost events has an error (ENOBUFS).
        ready = {descriptor for descriptor, _ in self._poll.poll(0)}
        for descriptor, source in self._sources.items() if ready else ():
            if descriptor in ready:
                yield from source()

    # ---- private ---------------------------------------------------------------------------------------------

    def _open(
        self,
        protocol: int,
        groups: tuple[int, ...],
        program: bytes,
        decode: Callable[[bytes], Iterator[Event]],
    ) -> None:
        listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        listener.setblocking(False)
        try:
            listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:
            # Inside a user namespace the host's limit stands.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        _attach(listener, program)
        listener.bind((0, 0))
        for group in groups:
            listener.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        try:
            listener.setsockopt(_SOL_NETLINK, _LISTEN_ALL_NSID, 1)
        except PermissionError:
            self.receives_all = False
            LOG.warning(
                "no capability NET_BROADCAST: changes by other programs in namespaces stay undetected until a full sync"
            )
        self._sources[listener.fileno()] = lambda: _receive(listener, decode)


def _receive(listener: socket.socket, decode: Callable[[bytes], Iterator[Event]]) -> Iterator[Notice]:
    while True:
        try:
            data, control, _, _ = listener.recvmsg(_READ_BYTES, _CONTROL_BYTES)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise
            yield None, AllChanged(are_lost=True)
            continue
        nsid = next((unpack("=i", value)[0] for level, _, value in control if level == _SOL_NETLINK), None)
        for event in decode(data):
            yield nsid, event


def _attach(listener: socket.socket, program: bytes) -> None:
    """Attach a filter program (struct sock_fprog) to a socket."""
    code = ctypes.create_string_buffer(program, len(program))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pack("@HP", len(program) // 8, ctypes.addressof(code)))


def _removed_pins(pins: int) -> Iterator[Notice]:
    while True:
        try:
            data = os.read(pins, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            _, mask, _, length = _PIN_EVENT.unpack_from(data, offset)
            offset += _PIN_EVENT.size + length
            name = os.fsdecode(data[offset - length : offset].rstrip(b"\0"))
            yield None, AllChanged(are_lost=True) if mask & syscalls.IN_Q_OVERFLOW else PinRemoved(name)
