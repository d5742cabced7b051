# SPDX-License-Identifier: Apache-2.0
"""State of one router in the agent: desired state, result of the last update, statuses reported to the server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from l3agent.model.router_keys import router_keys
from l3agent.model.states import FloatingIP, Key, Report, RouterState

#: Statuses of a floating IP in the API of the server.
ACTIVE, DOWN, ERROR = "ACTIVE", "DOWN", "ERROR"

#: Rank of an unknown router.
UNKNOWN = 2


def importance(payload: Mapping[str, Any]) -> int:
    """Return the rank of a payload: 0 with floating IPs, 1 with a gateway, 2 without; low ranks are processed first."""
    return 0 if payload.get("_floatingips") else 1 if payload.get("gw_port") else 2


@dataclass(slots=True)
class RouterInfo:
    """A router of this node, from its first update to its removal.

    :param state: the last valid desired state; None before the first.
    :param former_keys: keys that the kernel may have; a request removes the keys that ``state`` does not have.
    :param sequence: sequence number of the payload of ``state`` (see the queue).
    :param floating_ips: last status by id of the floating IP, received from or reported to the server; "" if unknown.
    :param has_lost_floating_ips: True if floating IPs left since the last report; a report of the others makes the
        server set them DOWN.
    :param received_at: monotonic seconds at which the server last sent the payload of this router.
    :param rejection: error of the last payload; None if ``state`` is from it.
    :param updated_at: monotonic seconds of the last result.
    :param revision: revision number of the payload of ``state``; it grows with each change of the router.
    :param older_revision: lower revision of a rejected answer; a second answer with it is accepted.
    """

    id: str
    name: str = ""
    state: RouterState | None = None
    former_keys: tuple[Key, ...] = ()
    sequence: int = 0
    floating_ips: dict[str, str] = field(default_factory=dict)
    has_lost_floating_ips: bool = False
    received_at: float = -math.inf
    status: Literal["active", "pending", "error"] = "pending"
    error: str | None = None
    rejection: str | None = None
    updates: int = 0
    operations: tuple[str, ...] = ()
    count: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    updated_at: float = 0.0
    revision: int = 0
    older_revision: int | None = None

    def is_older(self, payload: Mapping[str, Any]) -> bool:
        """Return True if an answer is stale and must be fetched again.

        The same revision twice is accepted: a server with a restored database counts from an older one.
        """
        revision = _revision(payload)
        older = revision is not None and revision < self.revision and revision != self.older_revision
        self.older_revision = revision if older else None
        return older

    @property
    def rank(self) -> int:
        """Return the rank (see :func:`importance`)."""
        if self.state is None:
            return UNKNOWN
        namespaces = self.state.namespaces
        return 0 if any(one.floating_ips for one in namespaces) else 1 if self.state.gateway else 2

    def set_desired(self, payload: Mapping[str, Any], state: RouterState, sequence: int) -> list[str]:
        """Set the desired state and its payload; return the new warnings."""
        former_warnings: frozenset[str] = frozenset()
        floating_ips = _floating_ip_statuses(payload)
        if self.state is not None:
            former_warnings = frozenset(self.state.warnings)
            # They stay until a request has succeeded, however many states follow one another.
            self.former_keys = router_keys(self.id, self.state, self.former_keys)
            self.has_lost_floating_ips |= not self.floating_ips.keys() <= floating_ips.keys()
            # A floating IP that is new here has the status of its former node; our ERROR may have crossed the answer.
            # Both must be reported.
            for fip_id in floating_ips:
                known = self.floating_ips.get(fip_id, "")
                if known in ("", ERROR):
                    floating_ips[fip_id] = known
        self.name = str(payload.get("name") or "")
        self.state, self.sequence, self.floating_ips = state, sequence, floating_ips
        self.revision = _revision(payload) or 0
        self.rejection = None
        return [warning for warning in state.warnings if warning not in former_warnings]

    def restore(self, payload: Mapping[str, Any], state: RouterState) -> None:
        """Restore the state of an earlier process; statuses that it has reported are not reported again."""
        self.set_desired(payload, state, 0)
        self.floating_ips = self._statuses(ACTIVE)

    def record_success(self, report: Report, timings: Mapping[str, float], now: float) -> None:
        """Record that the kernel has the desired state; the status stays ``error`` if the last payload was rejected."""
        self.status, self.error = ("active", None) if self.rejection is None else ("error", self.rejection)
        self.former_keys = ()
        self.updates += 1
        self.operations, self.count = report.operations, report.count
        self.timings, self.updated_at = dict(timings), now

    def retain_floating_ips(self, named: Mapping[str, FloatingIP]) -> None:
        """Keep only the floating IPs that are given, with the same addresses, and those of extensions."""
        self.has_lost_floating_ips |= not self.floating_ips.keys() <= named.keys()
        self.floating_ips = {fip_id: status for fip_id, status in self.floating_ips.items() if fip_id in named}
        if self.state is not None:
            kept = {*named.values(), *self.state.added_floating_ips}
            namespaces = (replace(one, floating_ips=one.floating_ips & kept) for one in self.state.namespaces)
            self.state = replace(self.state, namespaces=tuple(namespaces))

    def record_rejection(self, error: str, now: float) -> None:
        """Record that the last payload was rejected; ``state`` is an older one until the next payload."""
        self.rejection = error
        self.record_failure(error, now)

    def record_failure(self, error: str, now: float) -> None:
        """Record why the kernel does not have the desired state."""
        self.status, self.error, self.updated_at = "error", error, now

    def set_floating_ip_status(self, status: str) -> dict[str, str] | None:
        """Set the status of all floating IPs; return the statuses to report, None if none.

        Floating IPs that the state skips have status ``ERROR`` in any case. If floating IPs have left the router, the
        report contains all others, possibly none. The server then sets the floating IPs DOWN that are on no router; the
        agent cannot see whether they are on another one.
        """
        statuses = self._statuses(status)
        changes = {fip: new for fip, new in statuses.items() if self.floating_ips[fip] != new}
        self.floating_ips = statuses
        if status == ACTIVE and self.has_lost_floating_ips:
            self.has_lost_floating_ips = False
            return dict(statuses)
        return changes or None

    def release_floating_ips(self) -> set[str]:
        """Discard all floating IPs, since the router leaves this node; return the ids of those not reported DOWN."""
        released = {fip for fip, known in self.floating_ips.items() if known != DOWN}
        self.floating_ips, self.has_lost_floating_ips = {}, False
        return released

    def _statuses(self, status: str) -> dict[str, str]:
        statuses = dict.fromkeys(self.floating_ips, status)
        if self.state is not None and self.state.unserved_floating_ips:
            statuses |= dict.fromkeys(self.floating_ips.keys() & self.state.unserved_floating_ips, ERROR)
        return statuses


def _floating_ip_statuses(payload: Mapping[str, Any]) -> dict[str, str]:
    """Return by id the status of each associated floating IP; elements without a usable id are skipped."""
    floating_ips = payload.get("_floatingips")
    return {
        fip["id"]: str(fip.get("status") or "")
        for fip in (floating_ips if isinstance(floating_ips, list | tuple) else ())
        if isinstance(fip, Mapping) and isinstance(fip.get("id"), str) and fip["id"] and fip.get("fixed_ip_address")
    }


def _revision(payload: Mapping[str, Any]) -> int | None:
    revision = payload.get("revision_number")
    return revision if isinstance(revision, int) else None
