# SPDX-License-Identifier: Apache-2.0
"""The consumers of an agent.

They report each reconnection to the broker: transient queues are lost with their broker, and no other event indicates
that messages are missing. The bindings of all queues are also lost when an operator deletes an exchange: when a call
gets no answer, the consumers check their bindings.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import amqp.exceptions
import eventlet
import oslo_messaging
from oslo_log import log as logging
from oslo_messaging import Target
from oslo_messaging.rpc.server import RPCServer

from l3agent.exceptions import ConfigError, ServerUnavailable
from l3agent.rpc.binding import CHECK_INTERVAL_S, is_bound, is_probe
from l3agent.rpc.deadline import Deadline, time_limit
from l3agent.rpc.dispatcher import Dispatcher
from l3agent.rpc.message_pool import MessagePool
from l3agent.rpc.observers import on_result, remove_on_result
from l3agent.rpc.sending import BROKER_ERRORS

LOG = logging.getLogger(__name__)

# Seconds of one poll of the listener, and so the maximum delay of its stop. The driver's default (up to 5 s) delays
# every stop by as much; each poll costs 1 ms of CPU.
LISTENER_POLL_S = 0.5
# Seconds for the disconnect from the broker, which may be unreachable.
DISCONNECT_TIMEOUT_S = 10.0
_POLL_INTERVAL_S = 0.02


class _Server(RPCServer):  # type: ignore[misc]
    """A server that stops soon, and that reports when its connection to the broker was replaced."""

    # The driver's connection to the broker; None before the first one and for drivers without a broker.
    _broker: Any = None

    def __init__(self, transport: Any, target: Target, dispatcher: Any, on_reconnected: Callable[[], None]) -> None:
        super().__init__(transport, target, dispatcher)
        self._executor_cls = MessagePool
        self._on_reconnected = on_reconnected

    @property
    def connected(self) -> bool:
        """Return True if messages arrive, as far as this end has detected."""
        if self._broker is None:
            return self.listener is not None
        return bool(self._broker.connection is not None and self._broker.connection.connected)

    @property
    def in_flight(self) -> int:
        """Return the number of messages that are processed or wait to be processed."""
        return getattr(self._work_executor, "in_flight", 0)

    def reconnect(self) -> None:
        """Shut down the socket: the driver reconnects, declares all queues, and the reconnection is reported."""
        LOG.warning("The broker has lost the binding of %s.%s: reconnecting", *self.address)
        with suppress(AttributeError, OSError):  # it is already closed
            self._broker.channel.connection.sock.shutdown(socket.SHUT_RDWR)

    @property
    def address(self) -> tuple[str, str]:
        """Return the topic and the host to which messages for this server only are sent."""
        return self._target.topic, self._target.server

    @property
    def has_broker(self) -> bool:
        """Return True if the server is connected to a broker, which can lose its bindings."""
        return self._broker is not None and self.connected

    def _process_incoming(self, incoming: Any) -> None:
        if is_probe(incoming[0]):
            incoming[0].acknowledge()
            return
        if getattr(incoming[0], "expired", False):
            LOG.warning("Skipping a call of %s: its deadline has passed", incoming[0].message.get("method"))
            return
        super()._process_incoming(incoming)

    def _create_listener(self) -> Any:
        listener = self.transport._listen(self._target, 1, LISTENER_POLL_S)
        with suppress(AttributeError):  # drivers without a broker have no connection
            self._hook_channel(listener._poll_style_listener.conn.connection)
            _cancel_consumers_at_stop(listener._poll_style_listener)
        return listener

    def _hook_channel(self, connection: Any) -> None:
        """Hook the method that the rabbit driver calls with each new channel, after it has declared the queues."""
        set_channel = connection._set_current_channel
        self._broker = connection

        def set_channel_and_notify(channel: Any) -> None:
            replaced = channel is not None and channel is not connection.channel
            set_channel(channel)
            if replaced:
                self._on_reconnected()

        connection._set_current_channel = set_channel_and_notify


def _cancel_consumers_at_stop(poller: Any) -> None:
    """Make a listener cancel its consumers when it stops, and deliver messages that arrive until the broker confirms.

    The driver deletes the fanout queue while its consumer is active. The broker then cancels the consumer while the
    channel closes, which amqp logs as a warning. A message that arrives in between is acknowledged and lost.

    :param poller: the driver's listener. Its thread calls ``poll`` after the stop until that returns no message.
    """
    poll = poller.poll
    is_cancelled = False

    def poll_and_cancel(*args: Any, **options: Any) -> Any:
        nonlocal is_cancelled
        messages = poll(*args, **options)
        if messages or is_cancelled or not poller._shutdown.is_set():
            return messages
        is_cancelled = True
        connection = poller.conn.connection
        with suppress(*BROKER_ERRORS), connection._connection_lock:
            for consumer, tag in connection._consumers.items():
                consumer.cancel(tag)
        return poll(*args, **options)

    poller.poll = poll_and_cancel


class Connection:
    """The consumers of one agent: created first, started together, closed together.

    :param transport: from :func:`get_transport`.
    :param host: name of this node; messages to ``<topic>.<host>`` arrive here.
    :param on_lost: called in a greenthread each time a consumer has reconnected to its broker and declared its queues
        again: messages sent meanwhile are lost.
    """

    def __init__(
        self, transport: oslo_messaging.RPCTransport, *, host: str, on_lost: Callable[[], None] | None = None
    ) -> None:
        self.servers: list[_Server] = []
        self._transport = transport
        self._host = host
        self._on_lost = on_lost
        self._next_check = 0.0

    @property
    def connected(self) -> bool:
        """Return True if all consumers are connected to their broker, as far as this end has detected."""
        return bool(self.servers) and all(server.connected for server in self.servers)

    def create_consumer(self, topic: str, endpoints: Sequence[object], *, fanout: bool = False) -> None:
        """Create a consumer of ``topic``, ``<topic>.<host>`` and the fanout of ``topic``; it does not consume yet.

        :param endpoints: objects whose public methods are callable as ``method(context, **arguments)``; their attribute
            ``target`` (:class:`Target`) declares the version; names in their attribute ``not_rpc`` are not callable.
        :param fanout: part of the target, as Neutron's agents pass it; oslo.messaging subscribes to all three in any
            case, so a second consumer of the fanout would receive each message twice.
        """
        target = Target(topic=topic, server=self._host, fanout=fanout)
        dispatcher = Dispatcher(self._transport, topic, list(endpoints))
        self.servers.append(_Server(self._transport, target, dispatcher, self._reconnected))

    def consume_in_threads(self) -> None:
        """Start all consumers and return when their queues exist; wait for an unreachable broker without limit.

        :raises ConfigError: a queue or exchange exists with other settings (durable, quorum).
        :raises ServerUnavailable: the broker refuses the login or the virtual host.
        """
        on_result(self._transport, self._check_bindings_on_failure)
        for server in self.servers:
            try:
                server.start()
            except (amqp.exceptions.AccessRefused, amqp.exceptions.NotAllowed) as error:
                # May be temporary: the broker loads its users asynchronously, or a connection limit is reached.
                raise ServerUnavailable(
                    f"transport_url: the broker refuses the connection: {error.reply_text}"
                ) from error
            except oslo_messaging.MessageDeliveryFailure as error:
                if "PRECONDITION_FAILED" not in str(error):
                    raise
                raise ConfigError(
                    f"[oslo_messaging_rabbit]: {error}. All clients of a virtual host need the same values of "
                    "amqp_durable_queues and rabbit_quorum_queue: use theirs, or a separate virtual host."
                ) from error

    def close(self, timeout: float | None = DISCONNECT_TIMEOUT_S) -> bool:
        """Stop all consumers, wait for the messages in flight, and disconnect from the broker. Safe at any time.

        :param timeout: seconds for the messages in flight; None: no limit. The broker has at most
            ``DISCONNECT_TIMEOUT_S`` of it to confirm.
        :returns: False if a message is still in flight.
        """
        remove_on_result(self._transport, self._check_bindings_on_failure)
        servers = [server for server in self.servers if server.listener is not None]
        self.servers = []
        deadline = Deadline(timeout)
        closing = [eventlet.spawn(self._close, server) for server in servers]
        try:
            with time_limit(DISCONNECT_TIMEOUT_S), deadline.limit():
                for greenthread in closing:
                    greenthread.wait()
            return True
        except TimeoutError:
            in_flight = _await_in_flight(servers, deadline)
        if in_flight:
            LOG.error("%d messages in flight were not processed within %s s", in_flight, timeout)
        else:
            LOG.warning("The broker did not confirm the disconnect within %s s; not waiting", DISCONNECT_TIMEOUT_S)
        return not in_flight

    @staticmethod
    def _close(server: _Server) -> None:
        try:
            server.stop()
            server.wait()
        except Exception as error:  # the broker may be unreachable
            LOG.debug("Disconnecting from the broker: %s", error)

    def _check_bindings_on_failure(self, method: str, direction: str, result: str) -> None:
        """Check the bindings when a message was not answered: without bindings, state reports get no answer either."""
        if direction == "out" and result == "unavailable" and time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_INTERVAL_S
            eventlet.spawn_n(self._check_bindings)

    def _check_bindings(self) -> None:
        for server in list(self.servers):
            if server.has_broker and not is_bound(self._transport, *server.address):
                server.reconnect()

    def _reconnected(self) -> None:
        LOG.warning("The consumer has reconnected to the broker: messages may be missing")
        if self._on_lost is not None:
            eventlet.spawn_n(self._on_lost)


def _await_in_flight(servers: Sequence[_Server], deadline: Deadline) -> int:
    """Wait until no server has a message in flight; return the number of messages in flight at the deadline."""
    with suppress(TimeoutError), deadline.limit():
        while any(server.in_flight for server in servers):
            eventlet.sleep(_POLL_INTERVAL_S)
    return sum(server.in_flight for server in servers)
