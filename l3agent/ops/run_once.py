# SPDX-License-Identifier: Apache-2.0
"""``l3-agent --once``: run one full sync, report the result by the exit status, and leave the routers in place."""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
from oslo_log import log as logging

from l3agent.agent.view import AgentView
from l3agent.service import ThreadGroup

LOG = logging.getLogger(__name__)

EX_OK, EX_UNAVAILABLE, EX_TEMPFAIL = 0, 69, 75  # sysexits(3)
_POLL_S = 0.05


class RunOnce:
    """A service that ends all services when a full sync is complete and each of its routers was processed.

    :param wait: seconds for the first full sync, and then for reporting the statuses of floating IPs to the server.
    :param end: ends all services with an exit status: 0; 69 without a full sync in time; 75 if a router failed.
    """

    binary = "l3agent-once"

    def __init__(self, agent: AgentView, *, wait: float, end: Callable[[int], None]) -> None:
        self.tg = ThreadGroup()
        self._agent = agent
        self._wait = wait
        self._end = end

    def start(self) -> None:
        """Start to poll."""
        self.tg.add_thread(self._run)

    def stop(self) -> None:
        """Stop polling."""
        self.tg.stop()

    def wait(self) -> None:
        """Wait until the polling greenthread ends."""
        self.tg.wait()

    def reset(self) -> None:
        """Do nothing: no option changes on reload."""

    def _run(self) -> None:
        if not self._wait_until(lambda: self._agent.full_syncs > 0, self._wait):
            LOG.error("No full sync within %g s: the broker, the server or the data plane is unavailable", self._wait)
            self._end(EX_UNAVAILABLE)
            return
        # Each router has its own deadlines, so this wait ends; another full sync that was requested meanwhile may not.
        self._wait_until(self._is_idle, None)
        if not self._wait_until(self._is_synced_and_idle, self._wait):
            LOG.error("Another full sync was requested and did not complete within %g s", self._wait)
            self._end(EX_UNAVAILABLE)
            return
        if not self._wait_until(self._agent.statuses_flushed, self._wait):
            LOG.warning("Statuses of floating IPs were not reported to the server within %g s", self._wait)
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
        return self._agent.in_sync and self._is_idle()

    def _exit_status(self) -> int:
        failed = {info.id: info.error for info in self._agent.router_info.values() if info.status == "error"}
        for router_id, error in failed.items():
            LOG.error("router %s failed: %s", router_id, error)
        if failed or self._agent.queue.counts()["retrying"]:
            return EX_TEMPFAIL
        LOG.info("%d routers are in sync", len(self._agent.router_info))
        return EX_OK
