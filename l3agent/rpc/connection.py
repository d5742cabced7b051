# SPDX-License-Identifier: Apache-2.0
"""The consumers of an agent.

They tell when their broker went and came back: transient queues vanish with their broker, and nobody else will say that
messages are missing. So does an exchange that an operator deletes, with the bindings of all queues: when a message to
a server gets no answer, the consumers check theirs.
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
from l3agent.rpc.transport import BROKER_ERRORS

LOG = logging.getLogger(__name__)

# How long one look for messages lasts, and so how long a consumer may need to notice that it shall stop. The driver's
# own (up to 5 s) makes every stop as slow; each look costs 1 ms of CPU.
LISTENER_POLL_S = 0.5
# How long leaving the broker may take, which may be gone.
DISCONNECT_TIMEOUT_S = 10.0
_POLL_INTERVAL_S = 0.02


class _Server(RPCServer):  # type: ignore[misc]
    """A server that stops soon, and that tells when its connection to the broker was replaced."""

    # The driver's connection to the broker; None for drivers without one, and before there is one.
    _broker: Any = None

    def __init__(self, transport: Any, target: Target, dispatcher: Any, on_reconnected: Callable[[], None]) -> None:
        super().__init__(transport, target, dispatcher)
        self._executor_cls = MessagePool
        self._on_reconnected = on_reconnected

    @property
    def connected(self) -> bool:
        """Tell whether messages arrive, as far as this end has noticed."""
        if self._broker is None:
            return self.listener is not None
        return bool(self._broker.connection is not None and self._broker.connection.connected)

    @property
    def in_flight(self) -> int:
        """How many messages are in work or wait for it."""
        return getattr(self._work_executor, "in_flight", 0)

    def reconnect(self) -> None:
        """Break the connection: the driver makes a new one, declares all of its queues, and that is told."""
        LOG.warning("The broker has no binding for %s.%s any more: connecting again", *self.address)
        with suppress(AttributeError, OSError):  # it has broken by itself
            self._broker.channel.connection.sock.shutdown(socket.SHUT_RDWR)

    @property
    def address(self) -> tuple[str, str]:
        """The topic and the host that messages to this server alone are sent to."""
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
            LOG.warning("A call of %s is not worked on, its caller waits no longer", incoming[0].message.get("method"))
            return
        super()._process_incoming(incoming)

    def _create_listener(self) -> Any:
        listener = self.transport._listen(self._target, 1, LISTENER_POLL_S)
        with suppress(AttributeError):  # drivers without a broker have no connection to watch
            self._hook_channel(listener._poll_style_listener.conn.connection)
            _cancel_consumers_at_stop(listener._poll_style_listener)
        return listener

    def _hook_channel(self, connection: Any) -> None:
        """Hook the one place through which the rabbit driver passes each new channel, queues declared again."""
        set_channel = connection._set_current_channel
        self._broker = connection

        def set_channel_and_notify(channel: Any) -> None:
            replaced = channel is not None and channel is not connection.channel
            set_channel(channel)
            if replaced:
                self._on_reconnected()

        connection._set_current_channel = set_channel_and_notify


def _cancel_consumers_at_stop(poller: Any) -> None:
    """Make a listener cancel its consumers at its stop, and hand out what arrives until the broker confirms that.

    The driver deletes the fanout queue with its consumer still on it. The broker then cancels the consumer while the
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
    """The consumers of one agent: made first, started together, closed together.

    :param transport: from :func:`get_transport`.
    :param host: name of this node; messages to ``<topic>.<host>`` arrive here.
    :param on_lost: called in a greenthread each time a consumer lost its broker *and* is back, queues declared again:
        whatever was sent meanwhile is gone.
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
        """Tell whether all consumers are connected to their broker, as far as this end has noticed."""
        return bool(self.servers) and all(server.connected for server in self.servers)

    def create_consumer(self, topic: str, endpoints: Sequence[object], *, fanout: bool = False) -> None:
        """Add a consumer of ``topic``, ``<topic>.<host>`` and the fanout of ``topic``; it starts to consume later.

        :param endpoints: objects whose public methods can be called, as ``method(context, **arguments)``; an attribute
            ``target`` (:class:`Target`) states their version, names in an attribute ``not_rpc`` cannot be called.
        :param fanout: part of the target, as Neutron's agents pass it; oslo.messaging subscribes to all three anyway,
            so a second consumer for the fanout alone would get each message twice.
        """
        target = Target(topic=topic, server=self._host, fanout=fanout)
        dispatcher = Dispatcher(self._transport, topic, list(endpoints))
        self.servers.append(_Server(self._transport, target, dispatcher, self._reconnected))

    def consume_in_threads(self) -> None:
        """Start all consumers; returns when their queues exist. Waits for the broker as long as there is none.

        :raises ConfigError: a queue or exchange is there with other settings (durable, quorum) than ours.
        :raises ServerUnavailable: the broker refuses the login, or has no such virtual host or no room in it.
        """
        on_result(self._transport, self._check_bindings_on_failure)
        for server in self.servers:
            try:
                server.start()
            except (amqp.exceptions.AccessRefused, amqp.exceptions.NotAllowed) as error:
                # Maybe for a moment only: its users are loaded from elsewhere, or too many are connected.
                raise ServerUnavailable(f"transport_url: the broker says {error.reply_text}") from error
            except oslo_messaging.MessageDeliveryFailure as error:
                if "PRECONDITION_FAILED" not in str(error):
                    raise
                raise ConfigError(
                    f"[oslo_messaging_rabbit]: {error}. All who share a virtual host need the same amqp_durable_queues "
                    "and rabbit_quorum_queue; use theirs, or a virtual host of your own."
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
        except Exception as error:  # a broker that is gone cannot be left in an orderly way
            LOG.debug("Leaving the broker: %s", error)

    def _check_bindings_on_failure(self, method: str, direction: str, result: str) -> None:
        """Check the bindings when a message of ours got no answer: what cuts us off cuts the state report off too."""
        if direction == "out" and result == "unavailable" and time.monotonic() >= self._next_check:
            self._next_check = time.monotonic() + CHECK_INTERVAL_S
            eventlet.spawn_n(self._check_bindings)

    def _check_bindings(self) -> None:
        for server in list(self.servers):
            if server.has_broker and not is_bound(self._transport, *server.address):
                server.reconnect()

    def _reconnected(self) -> None:
        LOG.warning("The consumer's connection to the broker was lost and is back: messages may be missing")
        if self._on_lost is not None:
            eventlet.spawn_n(self._on_lost)


def _await_in_flight(servers: Sequence[_Server], deadline: Deadline) -> int:
    """Wait until no server has a message in hand; return how many there are at the deadline."""
    with suppress(TimeoutError), deadline.limit():
        while any(server.in_flight for server in servers):
            eventlet.sleep(_POLL_INTERVAL_S)
    return sum(server.in_flight for server in servers)
