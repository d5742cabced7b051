# SPDX-License-Identifier: Apache-2.0
"""Queues of notifications inside one process.

As in RabbitMQ, a topic has one queue, which exists from the first notification on, and one queue per pool of listeners.
A queue without a listener stores up to ``QUEUE_LIMIT`` notifications; the listeners of a queue receive in rotation.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import eventlet
from oslo_log import log as logging
from oslo_messaging._drivers import base

LOG = logging.getLogger(__name__)

#: Maximum length of a queue without a listener; then it drops the oldest notification, as ``max-length`` in RabbitMQ.
QUEUE_LIMIT = 1000

#: Makes the notification for a listener from the encoded one and a function that puts it back.
Decode = Callable[[str, Callable[[], object]], Any]
#: Exchange and topic.
Binding = tuple[str | None, str]


class NotificationQueue:
    """One queue and its listeners.

    :param decode: makes the notification for a listener.
    """

    def __init__(self, name: str, decode: Decode) -> None:
        self._name = name
        self._decode = decode
        self._waiting: deque[str] = deque()
        self._listeners: deque[NotificationListener] = deque()
        self._is_full = False

    def put(self, encoded: str) -> None:
        """Deliver a notification to the next listener in rotation; without listeners, store it."""
        if self._listeners:
            self._listeners.rotate(-1)
            self._listeners[-1].add(self._decode(encoded, lambda: self.put(encoded)))
            return
        self._waiting.append(encoded)
        if len(self._waiting) > QUEUE_LIMIT:
            self._waiting.popleft()
            if not self._is_full:
                LOG.warning("%s has no listener: storing the last %d notifications only", self._name, QUEUE_LIMIT)
            self._is_full = True

    def subscribe(self, listener: NotificationListener) -> None:
        """Add a listener and deliver the stored notifications."""
        self._listeners.append(listener)
        self._is_full = False
        for _ in range(len(self._waiting)):
            self.put(self._waiting.popleft())

    def unsubscribe(self, listener: NotificationListener) -> None:
        """Remove a listener. Idempotent."""
        if listener in self._listeners:
            self._listeners.remove(listener)


class NotificationQueues:
    """All queues of a broker, and their bindings to topics."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._queues: dict[tuple[str | None, str], NotificationQueue] = {}
        self._bound: defaultdict[Binding, list[NotificationQueue]] = defaultdict(list)

    def declare(self, binding: Binding, pool: str | None = None) -> NotificationQueue:
        """Return the queue of a topic or a pool, bound to the topic; create it if it does not exist."""
        exchange, topic = binding
        name = pool or topic
        queue = self._queues.setdefault((exchange, name), NotificationQueue(name, self._decode))
        if queue not in self._bound[binding]:
            self._bound[binding].append(queue)
        return queue

    def put(self, binding: Binding, encoded: str) -> None:
        """Put a copy of a notification into each queue bound to its topic."""
        self.declare(binding)
        for queue in self._bound[binding]:
            queue.put(encoded)


class NotificationListener(base.Listener):  # type: ignore[misc]
    """Receives notifications from queues and delivers them in batches.

    :param batch_size: number of notifications in a full batch.
    :param batch_timeout: seconds after which a partial batch is delivered; None: only full batches are.
    """

    def __init__(
        self, queues: Iterable[NotificationQueue], batch_size: int, batch_timeout: float | None = None
    ) -> None:
        super().__init__(batch_size, batch_timeout)
        self._queues = list(queues)
        self._batch: list[Any] = []
        self._timer: Any = None

    def start(self, on_incoming_callback: Callable[[list[Any]], None]) -> None:
        """Start to listen; stored notifications arrive first."""
        super().start(on_incoming_callback)
        for queue in self._queues:
            queue.subscribe(self)

    def add(self, message: Any) -> None:
        """Add a notification to the batch, and deliver the batch if it is full."""
        self._batch.append(message)
        if len(self._batch) >= self.batch_size:
            self._deliver_batch()
        elif self._timer is None and self.batch_timeout is not None:
            self._timer = eventlet.spawn_after(self.batch_timeout, self._deliver_batch)

    def _deliver_batch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()  # no effect if the timer itself calls this
            self._timer = None
        batch, self._batch = self._batch, []
        if batch:
            self.on_incoming_callback(batch)

    def stop(self) -> None:
        """Stop listening; deliver a partial batch."""
        for queue in self._queues:
            queue.unsubscribe(self)
        self._deliver_batch()
        super().stop()

    def cleanup(self) -> None:
        """Do nothing: a listener has no resources."""
