# SPDX-License-Identifier: Apache-2.0
"""Accepts connections of all routers, and divides what they share fairly.

============================================  ==========================================================================
a connection ...                              is
============================================  ==========================================================================
not redirected from the metadata address      reset
above the limit of its source address         reset
above the limit of its router                 left in the queue of the kernel until another one of the router ends
above the limit of all routers                accepted, and the oldest one of the router that has most is reset, if that
                                              has at least two more than its own router; otherwise left in the queue
while haproxy is not running                  answered with 503
============================================  ==========================================================================
"""

from __future__ import annotations

import resource
import socket
from functools import partial

from l3agent.metadata.connection import ClientConnection, reset
from l3agent.metadata.event_loop import READ, EventLoop
from l3agent.metadata.flow import PipePool
from l3agent.metadata.log import log, log_limited
from l3agent.metadata.proxy_protocol import encode_header
from l3agent.metadata.redirect import Endpoint, redirected_from, source_of
from l3agent.metadata.router import RESULTS, ServedRouter
from l3agent.metadata.upstream import UNAVAILABLE, Upstream
from l3agent.model.metadata_messages import Configure

#: Connections accepted from one socket before those of other routers are served.
_BATCH = 8
#: Bytes of the first read; a request fits.
_FIRST_READ = 16384
#: Descriptors per connection: two sockets, and a pipe per direction while bytes wait.
_DESCRIPTORS = 6
#: Descriptors of the process itself, and spare pipes.
_RESERVED = 64
#: Seconds until a client that does not end after its answer is cut off.
_LINGER_S = 2.0
#: Seconds between two lines about the limit of one router.
_LOG_S = 60.0
#: Seconds that the kernel waits for the first byte of a client before it reports the connection (tcp(7)).
_DEFER_S = 5


class Acceptor:
    """All routers and their connections.

    :ivar routers: by id.
    :ivar upstream: haproxy.
    :ivar former_results: results of routers that have been removed.
    """

    def __init__(self, loop: EventLoop, configuration: Configure) -> None:
        self.routers: dict[str, ServedRouter] = {}
        self.upstream = Upstream()
        self.former_results = dict.fromkeys(RESULTS, 0)
        self._configuration = configuration
        self._loop = loop
        self._pool = PipePool()
        self._paused: dict[ServedRouter, None] = {}
        #: A connection is in one of the two.
        self._forwarding: dict[ClientConnection, None] = {}
        self._lingering: dict[ClientConnection, None] = {}
        self._listeners = 0
        _, self._descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._descriptors, self._descriptors))

    @property
    def connections(self) -> int:
        """Connections of all routers, in any state."""
        return len(self._forwarding) + len(self._lingering)

    @property
    def limit(self) -> int:
        """The most connections of all routers: as configured, and for which there are descriptors."""
        available = self._descriptors - _RESERVED - self._listeners
        return max(1, min(self._configuration.connections, available // _DESCRIPTORS))

    def configure(self, configuration: Configure) -> None:
        """Replace the configuration."""
        self._configuration = configuration

    def add_router(self, router_id: str, listeners: list[socket.socket]) -> None:
        """Accept connections of a router; listening sockets that it already has are closed."""
        router = self.routers.get(router_id)
        if router is None:
            router = self.routers[router_id] = ServedRouter(router_id)
        self._close_listeners(router)
        for listener in listeners:
            listener.setblocking(False)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_S)
        router.listeners = listeners
        self._listeners += len(listeners)
        self._resume(router)

    def remove_router(self, router_id: str) -> None:
        """Close the listening sockets and all connections of a router; they are closed when this returns."""
        router = self.routers.pop(router_id, None)
        if router is None:
            return
        self._close_listeners(router)
        for connection in list(router.connections):
            router.count("removed")
            connection.close(is_reset=True)
        for result, number in router.results.items():
            self.former_results[result] += number
        self._loop.flush()

    def stop_accepting(self) -> None:
        """Close the listening sockets of all routers; connections continue."""
        for router in self.routers.values():
            self._close_listeners(router)
        self._loop.flush()

    def on_tick(self) -> bool:
        """Close connections whose time is up; return True if connections or routers wait for the next call."""
        for connections, timeout in (
            (self._forwarding, self._configuration.idle_timeout),
            (self._lingering, _LINGER_S),
        ):
            for connection in [one for one in connections if one.active_at + timeout <= self._loop.now]:
                if connections is self._forwarding:
                    connection.router.count("idle")
                connection.close(is_reset=True)
        for router in list(self._paused):
            self._resume(router)
        return bool(self.connections or self._paused)

    # ---- private ---------------------------------------------------------------------------------------------

    def _accept(self, router: ServedRouter, listener: socket.socket, _events: int) -> None:
        for turn in range(_BATCH):
            is_full = self.connections >= self.limit
            victim = self._find_victim(router) if is_full else None
            if (is_full and victim is None) or len(router.connections) >= self._configuration.router_connections:
                if turn == 0:  # otherwise it is unknown whether another one waits; if so, an event follows
                    self._log_limit(router)
                    self._pause(router)
                return
            try:
                client, name = listener.accept()
            except BlockingIOError:
                return
            except ConnectionError:
                continue  # reset before it was accepted
            except OSError as exc:
                log_limited("accept", f"router {router.id}: cannot accept connections: {exc}; retrying")
                self._pause(router)
                return
            client.setblocking(False)
            self._admit(router, client, source_of(name), victim)

    def _log_limit(self, router: ServedRouter) -> None:
        if self._loop.now < router.limit_logged_at + _LOG_S:
            return
        router.limit_logged_at = self._loop.now
        log(f"router {router.id}: {len(router.connections)} connections; others wait until one of them ends")

    def _find_victim(self, router: ServedRouter) -> ClientConnection | None:
        """Return the connection to reset for a new one of a router; None if no other router has two more."""
        largest = max(self.routers.values(), key=lambda one: len(one.connections))
        return next(iter(largest.connections)) if len(largest.connections) > len(router.connections) + 1 else None

    def _admit(
        self, router: ServedRouter, client: socket.socket, source: Endpoint, victim: ClientConnection | None
    ) -> None:
        destination = redirected_from(client, source[0])
        if destination is None:
            self._refuse(router, client, "not_redirected")
        elif router.sources.get(source[0], 0) >= self._configuration.source_connections:
            self._refuse(router, client, "source_limit")
        else:
            if victim is not None:
                victim.router.count("evicted")
                victim.close(is_reset=True)
            self._forward(router, client, source, destination)

    @staticmethod
    def _refuse(router: ServedRouter, client: socket.socket, result: str) -> None:
        router.count(result)
        reset(client)
        client.close()

    def _forward(self, router: ServedRouter, client: socket.socket, source: Endpoint, destination: Endpoint) -> None:
        """Send the first bytes of a client to haproxy and connect the two; they are usually the whole request."""
        try:
            first = client.recv(_FIRST_READ)
            if not first:
                client.close()
                return
        except BlockingIOError:
            first = b""
        except OSError:
            client.close()
            return
        header = encode_header(source, destination, router.fields)
        upstream = self.upstream.connect(self._configuration.haproxy_socket, header, first)
        router.count("unavailable" if upstream is None else "forwarded")
        connection = ClientConnection(self._loop, self._pool, router, source[0], (client, upstream), self)
        router.add(connection)
        self._forwarding[connection] = None
        if upstream is None:
            connection.answer(UNAVAILABLE)
        else:
            connection.start()

    def on_linger(self, connection: ClientConnection) -> None:
        """Measure the time of a connection by the short limit."""
        del self._forwarding[connection]
        self._lingering[connection] = None

    def on_end(self, connection: ClientConnection) -> None:
        """Forget a connection, and let the next connection that waits in the kernel be accepted."""
        self._forwarding.pop(connection, None)
        self._lingering.pop(connection, None)
        connection.router.remove(connection)
        if self._paused:
            if connection.router in self._paused:
                self._resume(connection.router)
            if self._paused:
                self._resume(next(iter(self._paused)))

    def _pause(self, router: ServedRouter) -> None:
        self._paused[router] = None
        for listener in router.listeners:
            self._loop.unwatch(listener.fileno())

    def _resume(self, router: ServedRouter) -> None:
        self._paused.pop(router, None)
        for listener in router.listeners:
            self._loop.watch(listener.fileno(), READ, partial(self._accept, router, listener))

    def _close_listeners(self, router: ServedRouter) -> None:
        self._paused.pop(router, None)
        self._listeners -= len(router.listeners)
        for listener in router.listeners:
            # The parent may have a duplicate, so close(2) does not end the registration (epoll(7), question 6).
            self._loop.close(listener)
        router.listeners = []
