# SPDX-License-Identifier: Apache-2.0
"""Reported statuses of floating IPs that leave a router, and of a router that leaves this node."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import eventlet
import pytest

from l3agent.agent.resource_update import Action, ResourceUpdate
from l3agent.agent.router_events import PayloadReceived, RetainFloatingIPs, StateRestored
from l3agent.agent.router_transition import transition
from l3agent.exceptions import ApplyError, InvalidRouter
from l3agent.model.additions import Addition
from l3agent.model.desired import desired_state, floating_ips_by_id
from l3agent.model.states import FloatingIP, RouterState
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import MakeAgent, OpenAgent, ServiceOf
from tests.support.payloads import a_floating_ip, a_router

R1, R2, R3 = (f"cffffff{number}-0000-4000-8000-000000000000" for number in (1, 2, 3))


def fips(*numbers: int, status: str = "DOWN") -> list[dict[str, Any]]:
    return [a_floating_ip(f"203.0.113.{n}", f"10.0.0.{n}") | {"id": f"fip{n}", "status": status} for n in numbers]


def serve(plugin: FakePlugin, *payloads: dict[str, Any]) -> None:
    plugin.routers = {payload["id"]: payload for payload in payloads}


def wait_idle(agent: OpenAgent) -> None:
    wait_until(lambda: agent.full_sync.in_sync and not any(agent.queue.counts().values()), timeout=30)
    wait_until(agent.view.statuses_flushed)


def reports(plugin: FakePlugin) -> list[Any]:
    return [(call["router_id"], call["fip_statuses"]) for call in plugin.called("update_floatingip_statuses")]


@pytest.fixture
def served(agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane) -> OpenAgent:
    """Return an agent with three routers, one with ACTIVE floating IPs."""
    wait_idle(agent)
    serve(plugin, a_router(id=R1, _floatingips=fips(101, 102)), a_router(id=R2), a_router(id=R3))
    agent.routers_updated(None, [R1, R2, R3])
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ACTIVE", "fip102": "ACTIVE"})
    wait_idle(agent)
    plugin.calls.clear()
    dataplane.applied.clear()
    return agent


def test_a_rejected_payload_keeps_the_floating_ips_of_extensions() -> None:
    payload = a_router(id=R1, _floatingips=fips(101, 102))
    added = FloatingIP(IPv4Address("203.0.113.200"), IPv4Address("10.0.0.200"))
    state = desired_state(payload, additions=[Addition("one", "router", added)])
    info = transition(R1, None, StateRestored(payload, state)).info
    fewer = payload | {"_floatingips": fips(101)}
    rejected = PayloadReceived(fewer, InvalidRouter("_interfaces", {}, "expected a list"), 1, 0.0, 1.0)
    change = transition(R1, info, rejected)
    named = floating_ips_by_id(fewer)
    assert change.info is not None and change.info.state is not None
    assert change.info.state.floating_ips == {added, named["fip101"]}
    assert change.cache == RetainFloatingIPs({"fip101"})


def unscheduled(agent: OpenAgent, plugin: FakePlugin) -> None:
    plugin.cast_to_agents("router_removed_from_agent", payload={"router_id": R1})


def switched_off(agent: OpenAgent, plugin: FakePlugin) -> None:
    """``admin_state_up=false``: the server does not name such a router."""
    plugin.cast_to_agents("routers_updated", routers=[R1])


def found_by_a_full_sync(agent: OpenAgent, plugin: FakePlugin) -> None:
    agent.agent_updated(None, {"admin_state_up": False})


@pytest.mark.feature("router.floating-ip-status")
@pytest.mark.parametrize("how", [unscheduled, switched_off, found_by_a_full_sync])
def test_a_router_that_is_served_no_more_has_its_floating_ips_down_before_it_goes(
    served: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, how: Any
) -> None:
    present = []
    real = plugin.update_floatingip_statuses

    def update_floatingip_statuses(context: Any, **arguments: Any) -> Any:
        present.append(("router", R1) in dataplane.states)
        return real(context, **arguments)

    plugin.update_floatingip_statuses = update_floatingip_statuses
    serve(plugin, a_router(id=R2), a_router(id=R3))
    how(served, plugin)
    wait_until(lambda: ("router", R1) not in dataplane.states)
    wait_idle(served)
    assert reports(plugin) == [(R1, {"fip101": "DOWN", "fip102": "DOWN"})]
    assert present == [True]


def test_the_report_is_not_repeated_after_the_removal(
    served: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    plugin.fail_next("update_floatingip_statuses", ValueError("no database"), times=1)
    serve(plugin, a_router(id=R2), a_router(id=R3))
    unscheduled(served, plugin)
    wait_until(lambda: ("router", R1) not in dataplane.states)
    eventlet.sleep(0.3)
    assert len(reports(plugin)) == 1
    assert plugin.fip_statuses == {"fip101": "ACTIVE", "fip102": "ACTIVE"}


def test_a_removal_that_fails_reports_once_and_no_error_afterwards(
    served: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    dataplane.fail_next(ApplyError("busy"), times=3)
    serve(plugin, a_router(id=R2), a_router(id=R3))
    unscheduled(served, plugin)
    wait_until(lambda: ("router", R1) not in dataplane.states)
    wait_idle(served)
    assert reports(plugin) == [(R1, {"fip101": "DOWN", "fip102": "DOWN"})]


def test_a_router_restored_while_its_removal_fails_reports_no_error(
    make_agent: MakeAgent, dataplane: FakeDataplane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node may serve its floating IPs."""
    agent = make_agent()

    def reconcile(states: Any) -> Any:
        agent.routers.restore(a_router(id=R1, _floatingips=fips(101)))
        raise ApplyError("busy")

    monkeypatch.setattr(dataplane, "reconcile", reconcile)
    with pytest.raises(ApplyError):
        agent.routers.remove(ResourceUpdate(R1, Action.UNSCHEDULE, 0, 1, 0.0), {})
    assert agent.router_info[R1].status == "error" and agent.view.statuses_flushed()


def test_a_router_that_comes_back_has_its_floating_ips_active_again(
    served: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    payload = plugin.routers.pop(R1)
    unscheduled(served, plugin)
    wait_until(lambda: ("router", R1) not in dataplane.states)
    plugin.routers[R1] = {**payload, "_floatingips": fips(101, 102, status="DOWN")}
    served.routers_updated(None, [R1])
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ACTIVE", "fip102": "ACTIVE"})


def test_of_a_deleted_router_nothing_is_reported(
    served: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, a_router(id=R2), a_router(id=R3))
    plugin.cast_to_agents("router_deleted", router_id=R1)
    wait_until(lambda: ("router", R1) not in dataplane.states)
    assert reports(plugin) == []


def test_nothing_is_reported_that_another_node_may_serve_since_an_interruption(
    served: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    """Reschedule the router to another node while the server considers this agent dead."""
    serve(plugin, a_router(id=R2), a_router(id=R3))
    plugin.report_answer = "revived"
    served.report_state()
    plugin.report_answer = "alive"
    wait_until(lambda: ("router", R1) not in dataplane.states)
    wait_idle(served)
    assert reports(plugin) == []


def test_nothing_is_reported_of_a_router_known_from_before_a_restart(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, a_router(id=R1, _floatingips=fips(101)), a_router(id=R2), a_router(id=R3))
    with running(plugin, service_of(agent := make_agent())):
        wait_idle(agent)
    plugin.calls.clear()
    serve(plugin, a_router(id=R2), a_router(id=R3))
    with running(plugin, service_of(agent := make_agent())):
        wait_idle(agent)
        wait_until(lambda: ("router", R1) not in dataplane.states)
    assert reports(plugin) == []


def test_a_floating_ip_that_another_router_here_has_by_now_is_not_reported_down(
    served: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, a_router(id=R2, _floatingips=fips(101, status="ACTIVE")), a_router(id=R3))
    served.routers_updated(None, [R2])
    wait_idle(served)
    unscheduled(served, plugin)
    wait_until(lambda: ("router", R1) not in dataplane.states)
    assert reports(plugin) == [(R2, {"fip101": "ACTIVE"}), (R1, {"fip102": "DOWN"})]


@pytest.mark.parametrize("stays", [[101], []], ids=["one stays", "none stays"])
def test_a_floating_ip_that_leaves_is_not_named_and_the_server_sets_it_down(
    served: OpenAgent, plugin: FakePlugin, stays: Any
) -> None:
    serve(plugin, a_router(id=R1, _floatingips=fips(*stays, status="ACTIVE")), a_router(id=R2), a_router(id=R3))
    served.routers_updated(None, [R1])
    wait_idle(served)
    assert reports(plugin) == [(R1, {f"fip{number}": "ACTIVE" for number in stays})]
    assert plugin.fip_statuses == {"fip101": "ACTIVE" if stays else "DOWN", "fip102": "DOWN"}


def test_a_rejected_payload_computes_the_floating_ips_of_the_router_once(
    served: OpenAgent, plugin: FakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once per floating IP takes a minute for 10,000 of them, in which no other greenthread runs."""
    numbers = range(101, 131)
    serve(plugin, a_router(id=R1, _floatingips=fips(*numbers)))
    served.routers_updated(None, [R1])
    wait_until(lambda: len(plugin.fip_statuses) == len(numbers))
    wait_idle(served)
    computed = []
    compute = RouterState.__dict__["floating_ips"].fget
    monkeypatch.setattr(
        RouterState, "floating_ips", property(lambda state: computed.append(state.id) or compute(state))
    )
    serve(plugin, a_router(id=R1, _floatingips=fips(*numbers[1:]), _interfaces={}))
    served.routers_updated(None, [R1])
    wait_until(lambda: served.routers.info[R1].error is not None)
    wait_idle(served)
    assert 0 < computed.count(R1) < len(numbers) / 2
