# SPDX-License-Identifier: Apache-2.0
"""Tells the agents what changed, as the server does: casts to topic ``l3_agent``, kept until the broker took them.

Sending happens in a greenthread of its own, so that a broker that is away holds up nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import eventlet
from eventlet.event import Event
from oslo_log import log as logging

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, admin_context
from l3agent.standalone.l3_plugin import Change

LOG = logging.getLogger(__name__)

AGENT_TOPIC = "l3_agent"

_CAST_TIMEOUT_S = 10.0
_RETRY_MIN_S, _RETRY_MAX_S = 1.0, 30.0


class Notifier:
    """Sends changes in order; one that comes again while it waits is sent once, at the later place.

    :param loses: tells, for each message, whether it is lost on purpose.
    """

    def __init__(self, transport: Any, *, loses: Callable[[], bool] = lambda: False) -> None:
        self._loses = loses
        self._client = Client(transport, AGENT_TOPIC, timeout=_CAST_TIMEOUT_S)
        # A dict for its order: the values mean nothing.
        self._waiting: dict[Change, None] = {}
        self._more = Event()

    def add(self, changes: Iterable[Change]) -> None:
        """Have these sent soon."""
        for change in changes:
            self._waiting.pop(change, None)
            self._waiting[change] = None
        if self._waiting and not self._more.ready():
            self._more.send()

    def run(self) -> None:
        """Send until killed."""
        delay = _RETRY_MIN_S
        while True:
            if not self._waiting:
                self._more = Event()
                self._more.wait()
            try:
                self._send_all()
                delay = _RETRY_MIN_S
            except ServerUnavailable as exc:
                LOG.warning("Agents could not be told of a change, trying again in %g s: %s", delay, exc)
                eventlet.sleep(delay)
                delay = min(2 * delay, _RETRY_MAX_S)

    def _send_all(self) -> None:
        while self._waiting:
            # One run of equal kind at a time: what is added while a cast is under way finds its own place in the order.
            (method, host), run = next(groupby(self._waiting, key=lambda change: (change.method, change.host)))
            self._send(method, host, list(run))

    def _send(self, method: str, host: str | None, changes: list[Change]) -> None:
        # Taken out before: the same change may come again while this one is on its way, and must be sent again then.
        for change in changes:
            del self._waiting[change]
        try:
            for arguments in _arguments(method, host, [change.router_id for change in changes]):
                if self._loses():
                    LOG.warning("Lost on purpose: %s for %s: %s", method, host or "all agents", arguments)
                    continue
                self._client.cast(admin_context(), method, **arguments)
        except BaseException:
            self._waiting = {change: None for change in changes if change not in self._waiting} | self._waiting
            raise


def _arguments(method: str, host: str | None, router_ids: list[str]) -> list[dict[str, Any]]:
    """Return the casts that one kind of change needs, with address, version and arguments as the server sends them."""
    match method:
        case "routers_updated":
            return [{"server": host, "version": "1.1", "routers": router_ids}]
        case "router_deleted":
            return [{"fanout": True, "version": "1.0", "router_id": router_id} for router_id in router_ids]
        case _:
            return [{"server": host, "version": "1.0", "payload": {"router_id": router_id}} for router_id in router_ids]
