# SPDX-License-Identifier: Apache-2.0
"""``l3-agent --once``: bring the node in order, say by the exit status how that went, and leave everything standing."""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
from oslo_log import log as logging

from l3agent.agent.l3_agent import L3NATAgent
from l3agent.service import ThreadGroup

LOG = logging.getLogger(__name__)

EX_OK, EX_UNAVAILABLE, EX_TEMPFAIL = 0, 69, 75  # sysexits(3)
_POLL_S = 0.05


class RunOnce:
    """A service that ends all of them when a full sync is complete and each router of it was tried.

    :param wait: seconds that broker, server and data plane have for a first full sync, and then the server to take what
        it is told of floating IPs.
    :param end: ends all services with an exit status: 0; 69 without a full sync in time; 75 when a router failed.
    """

    binary = "l3agent-once"

    def __init__(self, agent: L3NATAgent, *, wait: float, end: Callable[[int], None]) -> None:
        self.tg = ThreadGroup()
        self._agent = agent
        self._wait = wait
        self._end = end

    def start(self) -> None:
        """Begin to look."""
        self.tg.add_thread(self._run)

    def stop(self) -> None:
        """Look no more."""
        self.tg.stop()

    def wait(self) -> None:
        """Wait until nothing goes on."""
        self.tg.wait()

    def reset(self) -> None:
        """Do nothing: there is no option to take over."""

    def _run(self) -> None:
        if not self._wait_until(lambda: self._agent.full_sync.completed > 0, self._wait):
            LOG.error("No full sync within %g s: the broker, the server or the data plane is away", self._wait)
            self._end(EX_UNAVAILABLE)
            return
        # Each router has deadlines of its own, so this ends; another full sync that is asked for meanwhile need not.
        self._wait_until(self._is_idle, None)
        if not self._wait_until(self._is_synced_and_idle, self._wait):
            LOG.error("Another full sync was asked for and not to be had within %g s", self._wait)
            self._end(EX_UNAVAILABLE)
            return
        if not self._wait_until(self._agent.statuses_flushed, self._wait):
            LOG.warning("The server was not told the status of all floating IPs within %g s", self._wait)
        self._end(self._exit_status())

    def _wait_until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        deadline = None if seconds is None else time.monotonic() + seconds
        while not condition():
            if deadline is not None and time.monotonic() > deadline:
                return False
            eventlet.sleep(_POLL_S)
        return True

    def _is_idle(self) -> bool:
        counts = self._agent.queue.counts()
        return not counts["waiting"] and not counts["processing"]

    def _is_synced_and_idle(self) -> bool:
        return self._agent.full_sync.in_sync and self._is_idle()

    def _exit_status(self) -> int:
        failed = {info.id: info.error for info in self._agent.router_info.values() if info.status == "error"}
        for router_id, error in failed.items():
            LOG.error("router %s is not as it should be: %s", router_id, error)
        if failed or self._agent.queue.counts()["retrying"]:
            return EX_TEMPFAIL
        LOG.info("%d routers are as they should be", len(self._agent.router_info))
        return EX_OK
