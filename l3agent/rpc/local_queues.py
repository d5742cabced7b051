# SPDX-License-Identifier: Apache-2.0
"""Queues of notifications inside one process.

As at RabbitMQ, a topic has a queue of its own, which exists from the first notification on, and one for each pool of
listeners. A queue without a listener keeps what comes, up to ``QUEUE_LIMIT``; the listeners of a queue take turns.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import eventlet
from oslo_log import log as logging
from oslo_messaging._drivers import base

LOG = logging.getLogger(__name__)

#: Notifications that a queue without a listener keeps; then the oldest is dropped, as with the broker's ``max-length``.
QUEUE_LIMIT = 1000

#: Makes a notification, as its listener sees it, of the encoded one and a function that puts it back.
Decode = Callable[[str, Callable[[], object]], Any]
#: Exchange and topic.
Binding = tuple[str | None, str]


class NotificationQueue:
    """One queue and its listeners.

    :param decode: makes messages.
    """

    def __init__(self, name: str, decode: Decode) -> None:
        self._name = name
        self._decode = decode
        self._waiting: deque[str] = deque()
        self._listeners: deque[NotificationListener] = deque()
        self._is_full = False

    def put(self, encoded: str) -> None:
        """Hand a notification to the listener whose turn it is; without one, keep it."""
        if self._listeners:
            self._listeners.rotate(-1)
            self._listeners[-1].add(self._decode(encoded, lambda: self.put(encoded)))
            return
        self._waiting.append(encoded)
        if len(self._waiting) > QUEUE_LIMIT:
            self._waiting.popleft()
            if not self._is_full:
                LOG.warning("Nobody listens to %s: only the last %d notifications are kept", self._name, QUEUE_LIMIT)
            self._is_full = True

    def subscribe(self, listener: NotificationListener) -> None:
        """Add a listener; it gets what has been kept."""
        self._listeners.append(listener)
        self._is_full = False
        for _ in range(len(self._waiting)):
            self.put(self._waiting.popleft())

    def unsubscribe(self, listener: NotificationListener) -> None:
        """Remove a listener; doing it twice is harmless."""
        if listener in self._listeners:
            self._listeners.remove(listener)


class NotificationQueues:
    """All queues of a broker, and which topics they are bound to."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._queues: dict[tuple[str | None, str], NotificationQueue] = {}
        self._bound: defaultdict[Binding, list[NotificationQueue]] = defaultdict(list)

    def declare(self, binding: Binding, pool: str | None = None) -> NotificationQueue:
        """Return the queue of a topic, or of a pool, bound to the topic; it is made when it does not exist."""
        exchange, topic = binding
        name = pool or topic
        queue = self._queues.setdefault((exchange, name), NotificationQueue(name, self._decode))
        if queue not in self._bound[binding]:
            self._bound[binding].append(queue)
        return queue

    def put(self, binding: Binding, encoded: str) -> None:
        """Put a copy of a notification into each queue that is bound to its topic."""
        self.declare(binding)
        for queue in self._bound[binding]:
            queue.put(encoded)


class NotificationListener(base.Listener):  # type: ignore[misc]
    """Takes notifications from queues, in batches.

    :param batch_size: notifications that are handed over together.
    :param batch_timeout: seconds after which a batch that is not full is handed over; None: it waits to be full.
    """

    def __init__(
        self, queues: Iterable[NotificationQueue], batch_size: int, batch_timeout: float | None = None
    ) -> None:
        super().__init__(batch_size, batch_timeout)
        self._queues = list(queues)
        self._batch: list[Any] = []
        self._timer: Any = None

    def start(self, on_incoming_callback: Callable[[list[Any]], None]) -> None:
        """Listen; what has been kept arrives first."""
        super().start(on_incoming_callback)
        for queue in self._queues:
            queue.subscribe(self)

    def add(self, message: Any) -> None:
        """Take one notification."""
        self._batch.append(message)
        if len(self._batch) >= self.batch_size:
            self._deliver_batch()
        elif self._timer is None and self.batch_timeout is not None:
            self._timer = eventlet.spawn_after(self.batch_timeout, self._deliver_batch)

    def _deliver_batch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # without effect in the timer itself
            self._timer = None
        batch, self._batch = self._batch, []
        if batch:
            self.on_incoming_callback(batch)

    def stop(self) -> None:
        """Listen no more; a batch that is not full is handed over."""
        for queue in self._queues:
            queue.unsubscribe(self)
        self._deliver_batch()
        super().stop()

    def cleanup(self) -> None:
        """Release what the listener holds: nothing."""
