# SPDX-License-Identifier: Apache-2.0
"""Laws of the transition of a router, against models of the kernel and of the server."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from l3agent.agent.router_events import (
    DiscardPayload,
    Event,
    PayloadReceived,
    ReapplyRequested,
    RemovalRequested,
    RequestFailed,
    RequestSucceeded,
    RetainFloatingIPs,
    StateRestored,
    StorePayload,
    Transition,
)
from l3agent.agent.router_info import ACTIVE, DOWN, ERROR, RouterInfo
from l3agent.agent.router_transition import transition
from l3agent.exceptions import (
    ApplyError,
    DataplaneUnavailable,
    InvalidRouter,
    RouterError,
    RouterNotCompatible,
    RouterNotWanted,
)
from l3agent.model.desired import desired_state, floating_ips_by_id
from l3agent.model.states import Key, NamespaceState, Report, RouterState
from tests.support.payloads import a_floating_ip, a_router

R1 = "cffffff1-0000-4000-8000-000000000000"
FIPS = ("fip1", "fip2")
#: Of two floating IPs with the same fixed address one is skipped.
pairs = st.sampled_from(
    [{}, {"fip1": 5}, {"fip2": 6}, {"fip1": 5, "fip2": 6}, {"fip1": 5, "fip2": 6}, {"fip1": 5, "fip2": 5}]
)
revisions = st.sampled_from([None, 1, 2])
kinds = st.sets(st.sampled_from(["h1", "h2"]))
#: Most payloads are valid.
errors = st.sampled_from(
    [None, None, None, InvalidRouter("x", 1, "no"), RouterNotCompatible("ha"), RouterNotWanted("down")]
)
#: Since when the server considers the agent alive: longer than any payload, or not at all.
alive = st.sampled_from([-1.0, math.inf])


def with_namespaces(state: RouterState, names: set[str]) -> RouterState:
    return replace(state, namespaces=(*state.namespaces, *(NamespaceState("host", name) for name in sorted(names))))


class RouterMachine(RuleBasedStateMachine):
    """One router: the server changes it, the data plane performs all, a part or nothing of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.info: RouterInfo | None = None
        #: What the kernel has, the statuses in the server, and the ids in the stored payload.
        self.kernel: dict[Key, Any] = {}
        self.server = dict.fromkeys(FIPS, DOWN)
        self.cached: set[str] | None = None
        self.request: Transition | None = None
        self.associated: set[str] = set()
        #: Floating IPs that were on the router when its removal began, and did not come back.
        self.untracked: set[str] = set()
        #: True if the last event that may change the desired state was a valid payload.
        self.is_valid = False
        self.is_leaving = False
        self.now = 0.0

    def happen(self, event: Event) -> Transition:
        """Perform an event, and check what holds for each."""
        former = self.info
        floating_ips = None if former is None else dict(former.floating_ips)
        change = transition(R1, former, event)
        assert change == transition(R1, former, event), "it is not pure"
        assert former is None or former.floating_ips == floating_ips
        named = set() if change.info is None else set(change.info.floating_ips)
        assert set(change.statuses or ()) <= named
        assert set((change.statuses or {}).values()) <= {ACTIVE, ERROR}
        self.server |= change.statuses or {}
        if change.statuses is not None:
            # Neutron sets those DOWN that were on the router and are on none now.
            self.server |= dict.fromkeys(self.server.keys() - self.associated, DOWN)
        if change.released:
            assert former is not None and DOWN not in {former.floating_ips[fip] for fip in change.released}
            assert not self.is_leaving, "reported twice"
            self.server |= dict.fromkeys(change.released, DOWN)
        match change.cache:
            case StorePayload(payload):
                self.cached = {fip["id"] for fip in payload["_floatingips"]}
            case RetainFloatingIPs(ids):
                assert self.cached is not None and ids <= self.cached
                self.cached = set(ids)
            case DiscardPayload():
                self.cached = None
        if change.is_removal:
            self.untracked = set(FIPS)
        self.info = change.info
        if not isinstance(event, RequestSucceeded | RequestFailed):
            self.request = change if change.request is not None else None
        return change

    def payload(self, fips: dict[str, int], revision: int | None, *, has_crossed: bool = False) -> dict[str, Any]:
        """Return what the server sends.

        :param has_crossed: the answer was sent before our report of ERROR arrived.
        """
        statuses = {one: ACTIVE if has_crossed and status == ERROR else status for one, status in self.server.items()}
        floating_ips = [
            a_floating_ip(f"203.0.113.{100 + FIPS.index(fip)}", f"10.0.0.{fixed}")
            | {"id": fip, "status": statuses[fip]}
            for fip, fixed in fips.items()
        ]
        return a_router(id=R1, _floatingips=floating_ips) | ({} if revision is None else {"revision_number": revision})

    @initialize(fips=pairs, names=kinds, is_cached=st.booleans(), revision=revisions)
    def start(self, fips: dict[str, int], names: set[str], is_cached: bool, revision: int | None) -> None:
        if is_cached:
            payload = self.payload(fips, revision)
            self.associated = set(fips)
            self.cached = set(fips)
            change = self.happen(StateRestored(payload, with_namespaces(desired_state(payload), names)))
            assert change == Transition(change.info) and change.info is not None

    @rule(
        fips=pairs,
        names=kinds,
        revision=revisions,
        error=errors,
        alive_since=alive,
        has_crossed=st.sampled_from([True, True, False]),
    )
    def receive(
        self,
        fips: dict[str, int],
        names: set[str],
        revision: int | None,
        error: RouterError | None,
        alive_since: float,
        has_crossed: bool,
    ) -> None:
        former, associated = self.info, self.associated
        is_known = former is not None and former.state is not None
        payload = self.payload(fips, revision, has_crossed=has_crossed and is_known)
        outcome = error or with_namespaces(desired_state(payload), names)
        self.associated, self.now = set(fips), self.now + 1
        change = self.happen(PayloadReceived(payload, outcome, int(self.now), alive_since, self.now))
        if change.must_fetch:
            self.associated = associated
            self.check_older(former, change, revision)
        elif isinstance(outcome, RouterState):
            assert change.info is not None and change.info.state == outcome and change.cache == StorePayload(payload)
            self.is_valid, self.is_leaving = True, False
            self.untracked -= self.associated
        elif change.is_removal:
            assert isinstance(outcome, RouterNotWanted) or is_known
            assert (change.info is None) == (former is None)
            self.is_leaving = True
        else:
            assert not isinstance(outcome, RouterNotWanted)
            self.check_rejected(former, change, payload)

    def check_older(self, former: RouterInfo | None, change: Transition, revision: int | None) -> None:
        assert former is not None and change.info is not None and revision is not None and revision < former.revision
        assert replace(change.info, older_revision=former.older_revision) == former
        assert change.info.older_revision == revision != former.older_revision, "a second answer is accepted"
        assert change == Transition(change.info, log=change.log, must_fetch=True, result="skipped")

    def check_rejected(self, former: RouterInfo | None, change: Transition, payload: dict[str, Any]) -> None:
        """A rejected payload adds nothing to the desired state, and never reports ACTIVE."""
        assert change.info is not None and change.error and ACTIVE not in (change.statuses or {}).values()
        self.is_valid = False
        if former is None or former.state is None:
            assert change.info.state is None and change.request is None
            return
        named = frozenset(floating_ips_by_id(payload).values())
        assert change.info.state is not None
        assert change.info.state.floating_ips == former.state.floating_ips & named
        bare = [
            replace(state, namespaces=tuple(replace(one, floating_ips=frozenset()) for one in state.namespaces))
            for state in (former.state, change.info.state)
        ]
        assert bare[0] == bare[1] and change.info.keys == former.keys

    @rule()
    def reapply(self) -> None:
        former = self.info
        change = self.happen(ReapplyRequested())
        assert change.info is former
        assert (change.request is not None) == (former is not None and former.state is not None)

    @rule(alive_since=alive)
    def remove(self, alive_since: float) -> None:
        self.happen(RemovalRequested(alive_since))
        self.is_leaving = True

    @rule(fips=pairs, revision=revisions)
    @precondition(lambda self: self.info is not None)
    def restore_late(self, fips: dict[str, int], revision: int | None) -> None:
        """The state cache never replaces a known router."""
        former, request, payload = self.info, self.request, self.payload(fips, revision)
        assert self.happen(StateRestored(payload, desired_state(payload))) == Transition(former)
        self.request = request

    # Results. A worker that is killed has none: the next event comes without one.

    def perform(self, count: int | None) -> Transition:
        request = self.request
        assert request is not None and request.request is not None
        assert len(dict(request.request)) == len(request.request)
        for key, state in request.request[:count]:
            if state is None:
                self.kernel.pop(key, None)
            else:
                self.kernel[key] = state
        return request

    @rule()
    @precondition(lambda self: self.request is not None)
    def succeed(self) -> None:
        request = self.perform(None)
        self.request = None
        change = self.happen(RequestSucceeded(Report("router", R1), request.is_removal, {}, self.now))
        if request.is_removal:
            assert self.info is None and not self.kernel and self.cached is None
            self.is_leaving = self.is_valid = False
            return
        assert self.info is not None and self.info.state is not None
        assert self.kernel == {one.key: one for one in self.info.state.namespaces}, "the kernel has more, or less"
        assert not self.info.former_keys and (self.info.rejection is None or change.statuses is None)
        assert (self.info.status, self.info.error) == (
            ("active", None) if self.info.rejection is None else ("error", self.info.rejection)
        )
        if self.is_valid and not self.is_leaving:
            unserved = self.info.state.unserved_floating_ips
            expected = {
                fip: DOWN if fip not in self.associated else ERROR if fip in unserved else ACTIVE for fip in FIPS
            }
            assert {fip for fip in FIPS if self.server[fip] != expected[fip]} <= self.untracked

    @rule(count=st.integers(0, 4), is_refused=st.booleans())
    @precondition(lambda self: self.request is not None)
    def fail(self, count: int, is_refused: bool) -> None:
        request = self.perform(count)
        former, self.request = self.info, None
        error = ApplyError("busy") if is_refused else DataplaneUnavailable("absent")
        change = self.happen(RequestFailed(error, request.is_removal, self.now))
        assert change.request is None and change.cache is None and change.released is None
        if former is None or self.is_leaving or not is_refused:
            assert change.statuses is None
        if former is not None:
            assert change.info is not None and change.info.status == "error"
            assert (change.info.state, change.info.former_keys) == (former.state, former.former_keys)

    @rule(count=st.integers(0, 4))
    @precondition(lambda self: self.request is not None)
    def kill(self, count: int) -> None:
        self.perform(count)
        self.request = None

    @invariant()
    def every_key_in_the_kernel_is_known(self) -> None:
        known = set() if self.info is None else set(self.info.keys)
        assert self.kernel.keys() <= known | {("router", R1)}

    @invariant()
    def a_leaving_router_has_no_floating_ips(self) -> None:
        if self.is_leaving and self.info is not None:
            assert not self.info.floating_ips and not self.info.has_lost_floating_ips


RouterMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestRouter = RouterMachine.TestCase
