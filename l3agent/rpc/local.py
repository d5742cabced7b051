# SPDX-License-Identifier: Apache-2.0
"""The oslo.messaging driver behind ``local://``: topics, servers and fanout inside one process, with no broker.

The driver is event-driven: the sender puts a message directly into the work queue of the receiving server, without a
thread, a poll or idle time. Transports with the same virtual host (``local:///name``) share a broker.
As with RabbitMQ, arguments and results are sent as JSON, a message without a listener is lost (or refused, if it is
sent at least once), and a call without an answer ends at its deadline, after which no server starts to process it.
Notifications are queued for their listener: see ``local_queues``.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple
from weakref import WeakValueDictionary

import oslo_messaging
from oslo_messaging._drivers import base, common
from oslo_serialization import jsonutils

from l3agent.rpc.local_queues import NotificationListener, NotificationQueues

# As jsonutils.dumps, with an encoder that is created once.
_encode = json.JSONEncoder(default=jsonutils.to_primitive).encode


class Address(NamedTuple):
    """Address of a listener: exchange, topic and server."""

    exchange: str | None
    topic: str
    server: str | None


class _Answer:
    """The answer to a call; replies after the first one are ignored."""

    def __init__(self, timeout: float | None) -> None:
        # The reply releases this lock: by far the cheapest primitive to wait for, also in greenthreads.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._timeout = timeout
        self._sent_at = time.monotonic()
        self._reply: str | None = None
        self._failure: str | None = None

    @property
    def expired(self) -> bool:
        """Return True if the caller does not wait any more."""
        return self._timeout is not None and time.monotonic() - self._sent_at >= self._timeout

    def put(self, reply: Any, failure: Any) -> None:
        encoded = "null" if failure else _encode(reply)
        if self._reply is not None:
            return
        self._failure = common.serialize_remote_exception(failure) if failure else None
        self._reply = encoded
        self._lock.release()

    def get(self, topic: str, allowed_modules: list[str]) -> Any:
        if not self._lock.acquire(timeout=-1 if self._timeout is None else self._timeout):
            raise oslo_messaging.MessagingTimeout(f"No reply on topic {topic} within {self._timeout} s")
        if self._failure is not None:
            raise common.deserialize_remote_exception(self._failure, allowed_modules)
        return json.loads(self._reply or "null")


class LocalMessage(base.RpcIncomingMessage):  # type: ignore[misc]
    """A message at its server: an independent copy, decoded from JSON."""

    def __init__(self, encoded: str, answer: _Answer | None, redeliver: Callable[[], object]) -> None:
        ctxt, message = json.loads(encoded)
        super().__init__(ctxt, message)
        self._answer = answer
        self._redeliver = redeliver

    @property
    def expired(self) -> bool:
        """Return True if this is a call past its deadline, which includes the time in the server's queue."""
        return self._answer is not None and self._answer.expired

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Send a result, or the ``exc_info`` of an error, to the caller of a call; ignore it for a cast."""
        if self._answer is not None:
            self._answer.put(reply, failure)

    def requeue(self) -> None:
        """Deliver the message again, perhaps to another server."""
        self._redeliver()

    def heartbeat(self) -> None:
        """Do nothing: progress of a call does not extend its deadline."""


class LocalListener(base.Listener):  # type: ignore[misc]
    """Subscription of a server; the broker has it between ``start`` and ``stop``."""

    def __init__(self, broker: Broker, addresses: Iterable[Address]) -> None:
        super().__init__(batch_size=1, batch_timeout=None)
        self._broker = broker
        self.addresses = list(addresses)

    def start(self, on_incoming_callback: Callable[[list[LocalMessage]], None]) -> None:
        """Start to listen; the thread of the sender calls the callback with each message."""
        super().start(on_incoming_callback)
        self._broker.subscribe(self)

    def stop(self) -> None:
        """Stop to listen, without waiting."""
        self._broker.unsubscribe(self)
        super().stop()

    def cleanup(self) -> None:
        """Do nothing: a listener has no resources."""


class Broker:
    """Listeners by topic. Each virtual host has one broker, which exists while a driver refers to it."""

    def __init__(self) -> None:
        self._listeners: defaultdict[tuple[str | None, str], deque[LocalListener]] = defaultdict(deque)
        self.notifications = NotificationQueues(lambda encoded, again: LocalMessage(encoded, None, again))

    def subscribe(self, listener: LocalListener) -> None:
        """Register a listener for all of its addresses."""
        for address in listener.addresses:
            self._listeners[address[:2]].append(listener)

    def unsubscribe(self, listener: LocalListener) -> None:
        """Remove a listener. Idempotent."""
        for address in listener.addresses:
            if listener in self._listeners[address[:2]]:
                self._listeners[address[:2]].remove(listener)

    def deliver(self, address: Address, encoded: str, *, fanout: bool = False, answer: _Answer | None = None) -> bool:
        """Deliver a message to all listeners of a topic (fanout), or to the next one in rotation.

        :returns: False if there is no listener.
        """
        listeners = self._listeners[address[:2]]
        chosen = list(listeners) if fanout else self._next(listeners, address)
        for listener in chosen:
            redeliver = lambda: self.deliver(address, encoded, fanout=fanout, answer=answer)  # noqa: E731
            listener.on_incoming_callback([LocalMessage(encoded, answer, redeliver)])
        return bool(chosen)

    @staticmethod
    def _next(listeners: deque[LocalListener], address: Address) -> list[LocalListener]:
        for listener in listeners:
            if address.server is None or address in listener.addresses:
                listeners.remove(listener)
                listeners.append(listener)
                return [listener]
        return []


class LocalDriver(base.BaseDriver):  # type: ignore[misc]
    """Driver of ``local://``, registered as an entry point of ``oslo.messaging.drivers``."""

    #: True: no operation exceeds its timeout, so a :class:`~l3agent.rpc.Client` need not enforce it.
    enforces_timeouts = True

    _brokers: ClassVar[WeakValueDictionary[str, Broker]] = WeakValueDictionary()

    def __init__(
        self,
        conf: Any,
        url: oslo_messaging.TransportURL,
        default_exchange: str | None = None,
        allowed_remote_exmods: list[str] | None = None,
    ) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        self._broker = self._brokers.setdefault(url.virtual_host or "", Broker())

    @classmethod
    def reset_brokers(cls) -> None:
        """Remove all brokers in a forked child, which does not run the listeners of its parent."""
        cls._brokers = WeakValueDictionary()

    def require_features(self, requeue: bool = False) -> None:
        """Accept all features: requeue, the only one, is supported."""

    def send(
        self,
        target: oslo_messaging.Target,
        ctxt: dict[str, Any],
        message: dict[str, Any],
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,
        retry: int | None = None,
        transport_options: Any = None,
    ) -> Any:
        """Deliver a message; wait for its answer if ``wait_for_reply`` is set.

        :raises MessagingTimeout: no answer within ``timeout`` seconds.
        :raises MessageUndeliverable: there is no listener, and ``transport_options`` request at least once.
        """
        answer = _Answer(timeout) if wait_for_reply else None
        address, encoded = self._address(target), _encode((_values(ctxt), message))
        delivered = self._broker.deliver(address, encoded, fanout=bool(target.fanout), answer=answer)
        if not delivered and transport_options is not None and transport_options.at_least_once:
            raise oslo_messaging.MessageUndeliverable(None, address.exchange, target.topic, message)
        return answer.get(target.topic, self._allowed_remote_exmods) if answer else None

    def send_notification(
        self, target: oslo_messaging.Target, ctxt: dict[str, Any], message: Any, version: float, retry: Any = None
    ) -> None:
        """Deliver a notification to one listener of the topic and one of each pool, or queue it until they listen."""
        self._broker.notifications.put(self._address(target)[:2], _encode((_values(ctxt), message)))

    def listen(self, target: oslo_messaging.Target, batch_size: int, batch_timeout: float | None) -> LocalListener:
        """Return a listener for the topic, the topic of one server and the fanout."""
        return LocalListener(self._broker, [self._address(target)])

    def listen_for_notifications(
        self, targets_and_priorities: Any, pool: str | None, batch_size: int, batch_timeout: float | None
    ) -> NotificationListener:
        """Return a listener for the topics ``<topic>.<priority>``.

        :param pool: name of a pool; each pool receives each notification once.
        """
        bindings = [
            self._address(target, f"{target.topic}.{priority}")[:2] for target, priority in targets_and_priorities
        ]
        queues = dict.fromkeys(self._broker.notifications.declare(binding, pool) for binding in bindings)
        return NotificationListener(queues, batch_size, batch_timeout)

    def cleanup(self) -> None:
        """Do nothing: listeners end with their servers."""

    def _address(self, target: oslo_messaging.Target, topic: str | None = None) -> Address:
        return Address(target.exchange or self._default_exchange, topic or target.topic, target.server)


def _values(ctxt: Any) -> Any:
    """Return the values of a context, which is an object if the client has no serializer."""
    return ctxt.to_dict() if hasattr(ctxt, "to_dict") else ctxt
