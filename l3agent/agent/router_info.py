# SPDX-License-Identifier: Apache-2.0
"""What the agent remembers of one router: what it should be, what became of it, what the server was told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from l3agent.model.states import FloatingIP, Report, RouterState

#: Statuses of a floating IP, as the server spells them.
ACTIVE, DOWN, ERROR = "ACTIVE", "DOWN", "ERROR"

#: Rank of a router of which nothing is known.
UNKNOWN = 2


def importance(payload: Mapping[str, Any]) -> int:
    """Return the rank of a payload: 0 with floating IPs, 1 with a gateway, 2 without; low ones are worked on first."""
    return 0 if payload.get("_floatingips") else 1 if payload.get("gw_port") else 2


@dataclass(slots=True)
class RouterInfo:
    """One router of this node, from the first update of it to its removal.

    :param state: the last valid desired state; None while there was none.
    :param sequence: place of the data behind ``state`` in the order of events (see the queue).
    :param floating_ips: status by id of the floating IP, as the server knows it or was told; empty text when unknown.
    :param has_lost_floating_ips: True if floating IPs left since the last report; a report of the others makes the
        server set them DOWN.
    :param named_at: monotonic seconds at which the server last sent the payload of this router.
    :param refusal: why the server's last word was not taken for ``state``, None when it was.
    :param updated_at: monotonic seconds of the last outcome.
    :param revision: the server's number for the payload behind ``state``; it grows with each change of the router.
    :param older_revision: one below it that an answer had; a second answer of the same is believed.
    """

    id: str
    name: str = ""
    state: RouterState | None = None
    sequence: int = 0
    floating_ips: dict[str, str] = field(default_factory=dict)
    has_lost_floating_ips: bool = False
    named_at: float = -math.inf
    status: Literal["active", "pending", "error"] = "pending"
    error: str | None = None
    refusal: str | None = None
    updates: int = 0
    operations: tuple[str, ...] = ()
    count: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    updated_at: float = 0.0
    revision: int = 0
    older_revision: int | None = None

    def is_older(self, payload: Mapping[str, Any]) -> bool:
        """Tell whether an answer is older than what is known, and so to be asked for again.

        The same answer twice is the truth: a server whose database was put back to yesterday's counts from there.
        """
        revision = _revision(payload)
        older = revision is not None and revision < self.revision and revision != self.older_revision
        self.older_revision = revision if older else None
        return older

    @property
    def rank(self) -> int:
        """Return the rank by what is known (see :func:`importance`)."""
        if self.state is None:
            return UNKNOWN
        return 0 if self.state.floating_ips else 1 if self.state.gateway else 2

    def set_desired(self, payload: Mapping[str, Any], state: RouterState, sequence: int) -> list[str]:
        """Take a new desired state, and the payload behind it; return the warnings that are new."""
        former_warnings: frozenset[str] = frozenset()
        floating_ips = _floating_ip_statuses(payload)
        if self.state is not None:
            former_warnings = frozenset(self.state.warnings)
            self.has_lost_floating_ips |= not self.floating_ips.keys() <= floating_ips.keys()
            # One that is new here came from elsewhere, and its status speaks of there; our ERROR may have crossed the
            # answer. In both cases the server must be told.
            for fip_id in floating_ips:
                known = self.floating_ips.get(fip_id, "")
                if known in ("", ERROR):
                    floating_ips[fip_id] = known
        self.name = str(payload.get("name") or "")
        self.state, self.sequence, self.floating_ips = state, sequence, floating_ips
        self.revision = _revision(payload) or 0
        self.refusal = None
        return [warning for warning in state.warnings if warning not in former_warnings]

    def restore(self, payload: Mapping[str, Any], state: RouterState) -> None:
        """Take what was known when an agent was here last; what the server was told then, it is not told again."""
        self.set_desired(payload, state, 0)
        self.floating_ips = self._statuses(ACTIVE)

    def record_success(self, report: Report, timings: Mapping[str, float], now: float) -> None:
        """Note that the kernel is now as ``state`` says, which is the server's last word unless that was refusal."""
        self.status, self.error = ("active", None) if self.refusal is None else ("error", self.refusal)
        self.updates += 1
        self.operations, self.count = report.operations, report.count
        self.timings, self.updated_at = dict(timings), now

    def retain_floating_ips(self, named: Mapping[str, FloatingIP]) -> None:
        """Keep of the floating IPs those that are named, between the same addresses."""
        self.has_lost_floating_ips |= not self.floating_ips.keys() <= named.keys()
        self.floating_ips = {fip_id: status for fip_id, status in self.floating_ips.items() if fip_id in named}
        if self.state is not None:
            self.state = replace(self.state, floating_ips=self.state.floating_ips & set(named.values()))

    def record_refusal(self, error: str, now: float) -> None:
        """Note that the server's last word cannot be followed; until it says another one, ``state`` is an old one."""
        self.refusal = error
        self.record_failure(error, now)

    def record_failure(self, error: str, now: float) -> None:
        """Note why the kernel is not as the server wants it."""
        self.status, self.error, self.updated_at = "error", error, now

    def floating_ips_to_report(self, status: str) -> dict[str, str] | None:
        """Return the statuses to report now that all floating IPs have this one; None if there is nothing to report.

        Those that the state skips are ``ERROR`` whatever it is. If floating IPs have left, these are the statuses of
        all others, possibly none. The server then sets DOWN those that are on no router. The agent does not know
        whether they are on another one.
        """
        statuses = self._statuses(status)
        changes = {fip: new for fip, new in statuses.items() if self.floating_ips[fip] != new}
        self.floating_ips = statuses
        if status == ACTIVE and self.has_lost_floating_ips:
            self.has_lost_floating_ips = False
            return dict(statuses)
        return changes or None

    def release_floating_ips(self) -> set[str]:
        """Forget all floating IPs, since the router leaves this node; return the ids of those not known to be DOWN."""
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
