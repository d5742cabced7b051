# SPDX-License-Identifier: Apache-2.0
"""Serves the requests of the parent, and ends the process with it."""

from __future__ import annotations

import os
import socket
from typing import Any

from l3agent.exceptions import InvalidState
from l3agent.metadata.acceptor import Acceptor
from l3agent.metadata.event_loop import HANGUP, READ, WRITE, EventLoop
from l3agent.metadata.log import log
from l3agent.model.metadata_messages import (
    MAX_PACKET,
    MAX_SOCKETS,
    STATUS_ROUTERS,
    AddRouter,
    Configure,
    ControlAnswer,
    Drain,
    QueryStatus,
    RemoveRouter,
    Request,
    decode_number,
    decode_request,
    encode_answer,
)

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Control:
    """The end of the socketpair in this process.

    Requests are answered in their order; the next one is read when the answer has been sent.
    """

    def __init__(self, sock: socket.socket, loop: EventLoop) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = loop
        self._acceptor: Acceptor | None = None
        self._unsent: bytes | None = None
        self._drain_deadline: float | None = None

    def start(self) -> None:
        """Serve requests."""
        self._loop.watch(self._socket.fileno(), READ, self._on_events)

    def on_tick(self) -> bool:
        """Call the acceptor, and end a drained process; return True if there is a next tick to wait for."""
        if self._acceptor is None:
            return False
        has_more = self._acceptor.on_tick()
        if self._drain_deadline is None:
            return has_more
        if not self._acceptor.connections or self._loop.now >= self._drain_deadline:
            self._loop.stop()
        return True

    # ---- private ---------------------------------------------------------------------------------------------

    def _on_events(self, events: int) -> None:
        try:
            if self._unsent is None and events & (READ | HANGUP):
                self._unsent = self._receive()
            if self._unsent is not None:
                self._socket.send(self._unsent)
                self._unsent = None
                self._loop.watch(self._socket.fileno(), READ, self._on_events)
        except BlockingIOError:
            if self._unsent is not None:
                self._loop.watch(self._socket.fileno(), WRITE, self._on_events)
        except OSError:
            self._loop.stop()  # the parent has ended

    def _receive(self) -> bytes | None:
        """Receive and serve one request; return the packet of its answer, or None if the parent has ended."""
        packet, received, flags, _ = socket.recv_fds(self._socket, MAX_PACKET, MAX_SOCKETS, socket.MSG_CMSG_CLOEXEC)
        if not packet:
            _close(received)
            self._loop.stop()
            return None
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise InvalidState("packet", len(packet), "too many bytes or descriptors")
            request = decode_request(packet)
            if received and not isinstance(request, AddRouter):
                raise InvalidState("descriptors", len(received), "expected none")
            result, error = self._serve(request, received), None
        except InvalidState as exc:
            _close(received)
            log(f"request of the parent: {exc}")
            result, error = None, str(exc)
        return encode_answer(ControlAnswer(decode_number(packet), error, result))

    def _serve(self, request: Request, received: list[int]) -> Any:
        if isinstance(request, Configure):
            if self._acceptor is None:
                self._acceptor = Acceptor(self._loop, request)
            else:
                self._acceptor.configure(request)
            return None
        acceptor = self._acceptor
        if acceptor is None:
            raise InvalidState("op", type(request).__name__, "expected a configuration first")
        match request:
            case AddRouter():
                if self._drain_deadline is not None:
                    raise InvalidState("op", "add_router", "this process accepts no more connections")
                acceptor.add_router(request.router, _listening_sockets(received))
            case RemoveRouter():
                acceptor.remove_router(request.router)
            case Drain():
                acceptor.stop_accepting()
                self._drain_deadline = self._loop.now + request.timeout
            case QueryStatus():
                return self._status(acceptor, request.after)
        return None

    def _status(self, acceptor: Acceptor, after: str) -> dict[str, object]:
        ids = sorted(router for router in acceptor.routers if router > after)
        totals = dict(acceptor.former_results)
        for router in acceptor.routers.values():
            for result, number in router.results.items():
                totals[result] += number
        return {
            "connections": acceptor.connections,
            "limit": acceptor.limit,
            "haproxy_error": acceptor.upstream.error,
            "is_draining": self._drain_deadline is not None,
            "results": totals,
            "routers": {
                one: {"connections": len(acceptor.routers[one].connections), **acceptor.routers[one].results}
                for one in ids[:STATUS_ROUTERS]
            },
            "next": ids[STATUS_ROUTERS - 1] if len(ids) > STATUS_ROUTERS else None,
        }


def _listening_sockets(received: list[int]) -> list[socket.socket]:
    """Return sockets of received descriptors.

    :raises InvalidState: one is not a listening TCP socket, or there is none; the caller closes the descriptors.
    """
    if not received:
        raise InvalidState("descriptors", 0, f"expected 1 to {MAX_SOCKETS} listening sockets")
    for fd in received:
        if not _is_listening(fd):
            raise InvalidState("descriptors", fd, "expected a listening TCP socket")
    return [socket.socket(fileno=fd) for fd in received]


def _is_listening(fd: int) -> bool:
    try:
        sock = socket.socket(fileno=os.dup(fd))
    except OSError:
        return False
    with sock:
        is_tcp = sock.family in _FAMILIES and sock.type == socket.SOCK_STREAM and sock.proto == socket.IPPROTO_TCP
        return is_tcp and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _close(received: list[int]) -> None:
    for fd in received:
        os.close(fd)
