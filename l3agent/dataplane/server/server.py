# SPDX-License-Identifier: Apache-2.0
"""The socket of the data plane, and the loop of the kernel thread.

One client at a time; the kernel thread does what it requests (:mod:`l3agent.dataplane.kernel_thread` has a diagram).
"""

from __future__ import annotations

import logging
import os
import selectors
import time
from collections.abc import Iterable

import msgpack

from l3agent.dataplane.kernel_thread import KernelThread
from l3agent.dataplane.server.agent_connection import AgentConnection
from l3agent.dataplane.server.socket_file import SocketFile
from l3agent.model.escape import shorten

LOG = logging.getLogger(__name__)

#: Seconds between two checks of the file of the socket.
_CHECK_S = 1.0
#: Seconds of work on the requests of one read, which may be thousands, before other events are processed.
_SLICE_S = 0.05
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class DataplaneServer:
    """Listens on a unix socket and passes requests to the kernel thread.

    :param file: its user, and root, may connect.
    :param kernel_thread: does the work.
    :param exit_with_client: end when the first client has gone.
    """

    def __init__(self, file: SocketFile, *, kernel_thread: KernelThread, exit_with_client: bool) -> None:
        self._file = file
        self._allowed = {file.user, 0}
        self._kernel_thread = kernel_thread
        self._exit_with_client = exit_with_client
        self._client: AgentConnection | None = None
        self._stopped = False
        self._stop_read, self._stop_write = os.pipe()

    def stop(self) -> None:
        """Make :meth:`run` return after the current request; safe in a signal handler."""
        self._stopped = True
        os.write(self._stop_write, b"\0")

    def run(self) -> None:
        """Serve until stopped."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._file.listener, selectors.EVENT_READ, self._accept)
            selector.register(self._stop_read, selectors.EVENT_READ, None)
            for descriptor in self._kernel_thread.descriptors:
                selector.register(descriptor, selectors.EVENT_READ, self._read_events)
            next_check = 0.0
            while not self._stopped:
                if (now := time.monotonic()) >= next_check:
                    next_check = self._check_file(selector)
                self._kernel_thread.resume()
                ready = selector.select(min(self._select_events(selector), max(0.0, next_check - now)))
                has_client = self._dispatch(selector, ready)
                if self._client is not None and self._is_behind():
                    self._read(selector, self._client)
                elif not has_client:
                    self._kernel_thread.on_idle()

    # ---- private ---------------------------------------------------------------------------------------------

    def _dispatch(self, selector: selectors.BaseSelector, ready: Iterable[tuple[selectors.SelectorKey, int]]) -> bool:
        """Process what is ready; return True if a client is among it."""
        has_client = False
        for key, events in ready:
            if isinstance(key.data, AgentConnection):
                has_client = True
                if events & _WRITE:
                    key.data.flush()
                if events & _READ or key.data.is_broken:
                    self._read(selector, key.data)
            elif key.data is not None:
                key.data(selector)
        return has_client

    def _select_events(self, selector: selectors.BaseSelector) -> float:
        """Select the events of the client to wait for; return the seconds until other work is due."""
        client, seconds = self._client, self._kernel_thread.wait()
        if client is None:
            return seconds
        time_left = client.send_time_left()
        if client.is_broken or time_left <= 0:
            client.flush()
            time_left = client.send_time_left()
        events = _READ if client.is_broken else client.wanted_events(self._kernel_thread.has_room)
        if events != client.events:
            if not client.events:
                selector.register(client.connection, events, client)
            elif not events:
                selector.unregister(client.connection)
            else:
                selector.modify(client.connection, events, client)
            client.events = events
        return 0.0 if self._is_behind() else min(seconds, max(0.0, time_left))

    def _is_behind(self) -> bool:
        """Return True if a received request waits and may be executed now."""
        client = self._client
        return (
            client is not None
            and client.is_behind
            and not client.is_broken
            and client.accepts_requests(self._kernel_thread.has_room)
        )

    def _read_events(self, _: selectors.BaseSelector) -> None:
        self._kernel_thread.read_events()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        connection, _ = self._file.listener.accept()
        client = AgentConnection(connection)
        user = client.user
        if user not in self._allowed:
            LOG.warning("refused a client of user %d", user)
            client.answer(0, {"type": "PermissionMissing", "message": f"user {user} may not use the data plane"}, None)
            connection.close()
        elif self._client is not None and not self._client.is_closed:
            client.answer(0, {"type": "Busy", "message": "another agent is connected to this data plane"}, None)
            connection.close()
        else:
            if self._client is not None:
                self._drop(selector, self._client)
            self._client = client

    def _check_file(self, selector: selectors.BaseSelector) -> float:
        """Listen again where the file of the socket is gone; return the time of the next check."""
        former = self._file.listener
        if self._file.restore():
            selector.unregister(former)
            selector.register(self._file.listener, selectors.EVENT_READ, self._accept)
        return time.monotonic() + _CHECK_S

    def _read(self, selector: selectors.BaseSelector, client: AgentConnection) -> None:
        """Execute requests of the client for a slice of time; the rest follows after other events."""
        if client.connection.fileno() < 0:
            # Its successor was accepted in the same call of select, and it was dropped then.
            return
        data = client.receive()
        if data is None:
            return
        try:
            if (data or client.is_behind) and not client.is_broken:
                self._execute_requests(client, data)
                return
        except (ValueError, msgpack.UnpackException) as exc:
            LOG.error("the client sent an invalid frame: %s", shorten(str(exc)))
        self._drop(selector, client)
        self._stopped = self._stopped or self._exit_with_client

    def _execute_requests(self, client: AgentConnection, data: bytes) -> None:
        client.feed(data)
        client.is_behind = False
        until = time.monotonic() + _SLICE_S
        for request in client.requests():
            self._kernel_thread.serve(client, request)
            client.is_behind = time.monotonic() >= until or not client.accepts_requests(self._kernel_thread.has_room)
            if self._stopped or client.is_behind:
                break

    def _drop(self, selector: selectors.BaseSelector, client: AgentConnection) -> None:
        if client.events:
            selector.unregister(client.connection)
            client.events = 0
        client.connection.close()
        if self._client is client:
            self._client = None
