# SPDX-License-Identifier: Apache-2.0
"""Notifies agents of changes, as neutron-server does: casts to topic ``l3_agent``, kept until the broker confirms them.

The casts are sent in a separate greenthread, so that an unavailable broker blocks nothing else.
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
    """Sends changes in order; a change that is added again while it waits is sent once, at the later position.

    :param drops_cast: returns True for each cast that fault injection drops.
    """

    def __init__(self, transport: Any, *, drops_cast: Callable[[], bool] = lambda: False) -> None:
        self._drops_cast = drops_cast
        self._client = Client(transport, AGENT_TOPIC, timeout=_CAST_TIMEOUT_S)
        # A dict as an ordered set.
        self._waiting: dict[Change, None] = {}
        self._has_work = Event()

    def add(self, changes: Iterable[Change]) -> None:
        """Queue changes for sending."""
        for change in changes:
            self._waiting.pop(change, None)
            self._waiting[change] = None
        if self._waiting and not self._has_work.ready():
            self._has_work.send()

    def run(self) -> None:
        """Send queued changes until killed."""
        delay = _RETRY_MIN_S
        while True:
            if not self._waiting:
                self._has_work = Event()
                self._has_work.wait()
            try:
                self._send_all()
                delay = _RETRY_MIN_S
            except ServerUnavailable as exc:
                LOG.warning("Agents cannot be notified of changes, retry in %g s: %s", delay, exc)
                eventlet.sleep(delay)
                delay = min(2 * delay, _RETRY_MAX_S)

    def _send_all(self) -> None:
        while self._waiting:
            # One cast for consecutive changes of equal method and host; changes may be added while it is in flight.
            (method, host), run = next(groupby(self._waiting, key=lambda change: (change.method, change.host)))
            self._send(method, host, list(run))

    def _send(self, method: str, host: str | None, changes: list[Change]) -> None:
        # Removed before sending: a change that is added while it is in flight must be sent again.
        for change in changes:
            del self._waiting[change]
        try:
            for arguments in _arguments(method, host, [change.router_id for change in changes]):
                if self._drops_cast():
                    LOG.warning("Fault injection drops cast %s to %s: %s", method, host or "all agents", arguments)
                    continue
                self._client.cast(admin_context(), method, **arguments)
        except BaseException:
            self._waiting = {change: None for change in changes if change not in self._waiting} | self._waiting
            raise


def _arguments(method: str, host: str | None, router_ids: list[str]) -> list[dict[str, Any]]:
    """Return the target, version and arguments of the casts for changes of one method, as neutron-server sends them."""
    match method:
        case "routers_updated":
            return [{"server": host, "version": "1.1", "routers": router_ids}]
        case "router_deleted":
            return [{"fanout": True, "version": "1.0", "router_id": router_id} for router_id in router_ids]
        case _:
            return [{"server": host, "version": "1.0", "payload": {"router_id": router_id}} for router_id in router_ids]
