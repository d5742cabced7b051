# SPDX-License-Identifier: Apache-2.0
"""The oslo.messaging driver behind ``local://``: topics, servers and fanout inside one process, with no broker.

Driven by events only: a message goes straight into the work queue of the server that gets it, so there is no thread, no
poll and no idle time. Transports with the same virtual host (``local:///name``) see each other, others do not.
As with a broker, arguments and results travel as JSON, a message that nobody listens for is lost (or, sent at least
once, refused), and a call that nobody answers ends at its deadline: from then on no server begins with it.
Notifications wait for their listener: see ``local_queues``.
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

# What jsonutils.dumps does, with an encoder that is made once.
_encode = json.JSONEncoder(default=jsonutils.to_primitive).encode


class Address(NamedTuple):
    """Where a listener listens: one exchange and topic, as one server."""

    exchange: str | None
    topic: str
    server: str | None


class _Answer:
    """What a caller waits for; the first reply counts."""

    def __init__(self, timeout: float | None) -> None:
        # A lock that whoever replies releases: of all things to wait for the cheapest, by far, in green threads too.
        self._lock = threading.Lock()
        self._lock.acquire()
        self._timeout = timeout
        self._sent_at = time.monotonic()
        self._reply: str | None = None
        self._failure: str | None = None

    @property
    def expired(self) -> bool:
        """Tell whether nobody waits any longer."""
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
    """A message as its server sees it: a copy of its own, made from JSON."""

    def __init__(self, encoded: str, answer: _Answer | None, redeliver: Callable[[], object]) -> None:
        ctxt, message = json.loads(encoded)
        super().__init__(ctxt, message)
        self._answer = answer
        self._redeliver = redeliver

    @property
    def expired(self) -> bool:
        """Tell whether this is a call that nobody waits for any longer: time spent in a server's queue counts."""
        return self._answer is not None and self._answer.expired

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Send a result, or the ``exc_info`` of an error, to the caller if there is one."""
        if self._answer is not None:
            self._answer.put(reply, failure)

    def requeue(self) -> None:
        """Deliver the message once more, perhaps to another server."""
        self._redeliver()

    def heartbeat(self) -> None:
        """Tell the caller that work goes on: nothing to do, its deadline stands."""


class LocalListener(base.Listener):  # type: ignore[misc]
    """One server's subscription; it exists at the broker between ``start`` and ``stop``."""

    def __init__(self, broker: Broker, addresses: Iterable[Address]) -> None:
        super().__init__(batch_size=1, batch_timeout=None)
        self._broker = broker
        self.addresses = list(addresses)

    def start(self, on_incoming_callback: Callable[[list[LocalMessage]], None]) -> None:
        """Listen; each message is handed to the callback by the sender's own thread."""
        super().start(on_incoming_callback)
        self._broker.subscribe(self)

    def stop(self) -> None:
        """Listen no more, at once."""
        self._broker.unsubscribe(self)
        super().stop()

    def cleanup(self) -> None:
        """Release what the listener holds: nothing."""


class Broker:
    """Who listens where. One for each virtual host, alive as long as a driver refers to it."""

    def __init__(self) -> None:
        self._listeners: defaultdict[tuple[str | None, str], deque[LocalListener]] = defaultdict(deque)
        self.notifications = NotificationQueues(lambda encoded, again: LocalMessage(encoded, None, again))

    def subscribe(self, listener: LocalListener) -> None:
        """Make a listener known at all its addresses."""
        for address in listener.addresses:
            self._listeners[address[:2]].append(listener)

    def unsubscribe(self, listener: LocalListener) -> None:
        """Forget a listener; doing it twice is harmless."""
        for address in listener.addresses:
            if listener in self._listeners[address[:2]]:
                self._listeners[address[:2]].remove(listener)

    def deliver(self, address: Address, encoded: str, *, fanout: bool = False, answer: _Answer | None = None) -> bool:
        """Hand a message to all listeners of a topic, or to the one whose turn it is.

        :returns: whether there is one.
        """
        listeners = self._listeners[address[:2]]
        chosen = list(listeners) if fanout else self._next(listeners, address)
        for listener in chosen:
            again = lambda: self.deliver(address, encoded, fanout=fanout, answer=answer)  # noqa: E731
            listener.on_incoming_callback([LocalMessage(encoded, answer, again)])
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
    """The driver that ``local://`` names; registered under the entry points ``oslo.messaging.drivers``."""

    #: Nothing here outlasts a timeout, so that a :class:`~l3agent.rpc.Client` need not watch over it.
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
        """Begin without listeners, in a forked child: those of the parent do not run here."""
        cls._brokers = WeakValueDictionary()

    def require_features(self, requeue: bool = False) -> None:
        """Accept any feature that is asked for: the one there is, requeue, is there."""

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
        """Deliver a message; wait for its answer when ``wait_for_reply`` is set.

        :raises MessagingTimeout: no answer within ``timeout`` seconds.
        :raises MessageUndeliverable: nobody listens, and ``transport_options`` ask for at least once.
        """
        answer = _Answer(timeout) if wait_for_reply else None
        address, encoded = self._address(target), _encode((_values(ctxt), message))
        taken = self._broker.deliver(address, encoded, fanout=bool(target.fanout), answer=answer)
        if not taken and transport_options is not None and transport_options.at_least_once:
            raise oslo_messaging.MessageUndeliverable(None, address.exchange, target.topic, message)
        return answer.get(target.topic, self._allowed_remote_exmods) if answer else None

    def send_notification(
        self, target: oslo_messaging.Target, ctxt: dict[str, Any], message: Any, version: float, retry: Any = None
    ) -> None:
        """Deliver a notification to one listener of the topic, and to one of each pool; or keep it for them."""
        self._broker.notifications.put(self._address(target)[:2], _encode((_values(ctxt), message)))

    def listen(self, target: oslo_messaging.Target, batch_size: int, batch_timeout: float | None) -> LocalListener:
        """Return a listener for the topic, the topic of one server and the fanout."""
        return LocalListener(self._broker, [self._address(target)])

    def listen_for_notifications(
        self, targets_and_priorities: Any, pool: str | None, batch_size: int, batch_timeout: float | None
    ) -> NotificationListener:
        """Return a listener for the topics ``<topic>.<priority>``.

        :param pool: each pool gets each notification, once.
        """
        bindings = [
            self._address(target, f"{target.topic}.{priority}")[:2] for target, priority in targets_and_priorities
        ]
        queues = dict.fromkeys(self._broker.notifications.declare(binding, pool) for binding in bindings)
        return NotificationListener(queues, batch_size, batch_timeout)

    def cleanup(self) -> None:
        """Release what the driver holds: nothing, listeners end with their servers."""

    def _address(self, target: oslo_messaging.Target, topic: str | None = None) -> Address:
        return Address(target.exchange or self._default_exchange, topic or target.topic, target.server)


def _values(ctxt: Any) -> Any:
    """Return the values of a context, which may be an object when there is no serializer."""
    return ctxt.to_dict() if hasattr(ctxt, "to_dict") else ctxt
