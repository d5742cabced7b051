# SPDX-License-Identifier: Apache-2.0
"""Decides which local routers are removed because a full sync does not name them.

::

    local routers that the answer does not name
      |-- orphans within their grace period      kept, and exempt from the guard
      |-- held by the mass-deletion guard        kept until a second answer confirms their removal
      `-- the others                             removed, unless the answer has invalid elements
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import eventlet
from oslo_log import log as logging

from l3agent.agent.mass_delete import MassDeleteGuard
from l3agent.agent.orphans import Orphans
from l3agent.agent.sync_requests import SyncRequests

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of a full sync for the routers that it does not name.

    :param removed: ids of the routers to remove now.
    :param is_suspicious: True if they are as many as a wrong answer would remove.
    """

    removed: Set[str]
    is_suspicious: bool


class Removals:
    """Applies the grace period of orphans and the mass-deletion guard, and requests the full syncs that they need.

    :param guard: holds suspicious removals.
    :param orphans: holds the removal of orphans for their grace period.
    :param requests: of full syncs.
    :param is_managed: returns True if this agent manages a router; the other local routers are orphans.
    """

    def __init__(
        self,
        guard: MassDeleteGuard,
        orphans: Orphans,
        requests: SyncRequests,
        is_managed: Callable[[str], bool],
    ) -> None:
        self._guard = guard
        self._orphans = orphans
        self._requests = requests
        self._is_managed = is_managed
        self._orphan_timer: Any = None

    def decide(self, omitted: set[str], local: set[str], *, is_complete: bool) -> Decision:
        """Return the routers to remove now.

        :param omitted: local routers that the answer does not name.
        :param local: all local routers.
        :param is_complete: False if the answer has rejected elements: each may be any of the omitted routers.
        """
        kept = self._within_grace(omitted)
        count = len(local - kept)
        removed = self._filter(omitted - kept, count) if is_complete else frozenset[str]()
        self._orphans.discard(removed)
        return Decision(removed, self._guard.is_suspicious(len(removed), count))

    def stop(self) -> None:
        """Cancel the full sync at the end of a grace period."""
        if self._orphan_timer is not None:
            self._orphan_timer.kill()

    def _filter(self, missing: set[str], local: int) -> Set[str]:
        """Return the missing routers that may be removed now; request another full sync for the others."""
        removed = self._guard.filter(missing, local)
        if held := len(self._guard.held):
            LOG.warning(
                "Full sync: the server omits %d of the %d local routers: %d are held, and removed if it still omits "
                "them in %g s ([l3agent] mass_delete_share, mass_delete_confirm_interval)",
                len(missing),
                local,
                held,
                self._guard.confirm_interval,
            )
            self._requests.request(
                f"the removal of {held} routers needs a second answer", delay=self._guard.confirm_interval
            )
        return removed

    def _within_grace(self, missing: set[str]) -> set[str]:
        """Return the orphans in their grace period; schedule a full sync at its end."""
        orphans = {one for one in missing if not self._is_managed(one)}
        kept = orphans - self._orphans.find_expired(orphans)
        if kept:
            ids = ", ".join(sorted(kept))
            LOG.info("Full sync: orphans within their grace period ([l3agent] orphan_grace_period): %s", ids)
            # A timer instead of a delayed request: the node is in sync meanwhile.
            if self._orphans.grace_period > 0 and (self._orphan_timer is None or self._orphan_timer.dead):
                self._orphan_timer = eventlet.spawn_after(
                    self._orphans.grace_period, self._requests.request, "the time of orphans is over"
                )
        return kept
