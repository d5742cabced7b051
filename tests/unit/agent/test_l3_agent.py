# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.agent.batch_fetch import BatchSize
from l3agent.agent.l3_agent import NETWORK_UPDATE_TOPIC
from l3agent.exceptions import ApplyError, DataplaneUnavailable, ServerUnavailable
from l3agent.rpc import Client, admin_context
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import FOREIGN_STATE, MakeAgent, OpenAgent, ServiceOf, router_state
from tests.support.payloads import a_floating_ip, a_gateway, a_router

# None of the ids of routers().
R1, R2, R3 = (f"cffffff{number}-0000-4000-8000-000000000000" for number in (1, 2, 3))


def routers(count: int) -> list[dict[str, Any]]:
    return [a_router(id=f"c{number:07x}-0000-4000-8000-000000000000") for number in range(count)]


def wait_idle(agent: OpenAgent) -> None:
    wait_until(lambda: agent.full_sync.in_sync and not any(agent.queue.counts().values()), timeout=30)


def local_ids(dataplane: FakeDataplane) -> set[str]:
    return {router_id for kind, router_id in dataplane.states if kind == "router"}


def serve(plugin: FakePlugin, *payloads: dict[str, Any]) -> None:
    plugin.routers = {payload["id"]: payload for payload in payloads}


def test_a_deleted_router_goes_although_all_others_wait_for_a_silent_server(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, *(a_router(id=f"{number:08x}-0000-4000-8000-000000000000") for number in range(1, 21)))
    dataplane.states[("router", R1)] = FOREIGN_STATE
    plugin.delays["sync_routers"] = 60.0
    agent.routers_updated(None, list(plugin.routers))
    wait_until(lambda: len(agent.in_flight) > 1)
    agent.router_deleted(None, R1)
    wait_until(lambda: R1 not in local_ids(dataplane))
    assert len(agent.in_flight) > 1 and not local_ids(dataplane)


def test_the_loop_fills_a_pool_of_eight_with_workers_and_replaces_each_that_dies(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = make_agent()
    started: list[Any] = []

    def work() -> None:
        started.append(eventlet.getcurrent())
        eventlet.sleep(60)

    monkeypatch.setattr(agent, "_process_router_update", work)
    with running(plugin, service_of(agent)):
        wait_until(lambda: len(started) == agent.pool.size == 8)
        eventlet.kill(started[3])
        wait_until(lambda: len(started) == 9)
        assert agent.pool.running() == 8


# Full sync


def test_a_started_agent_brings_the_node_in_sync(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, a_router(id=R1), a_router(id=R2))
    with running(plugin, service_of(agent := make_agent())):
        wait_idle(agent)
        assert local_ids(dataplane) == {R1, R2}
        assert agent.full_sync.completed == 1


def test_the_server_gets_a_state_report_before_it_is_asked_for_routers(agent: OpenAgent, plugin: FakePlugin) -> None:
    wait_idle(agent)
    methods = [method for method, _ in plugin.calls]
    assert methods.index("report_state") < methods.index("get_router_ids")


@pytest.mark.feature("sync.orphans-at-start")
def test_what_the_server_does_not_name_is_removed_after_a_complete_sync(
    make_agent: MakeAgent, service_of: ServiceOf, transport: Any, conf: cfg.ConfigOpts
) -> None:
    dataplane = FakeDataplane(
        {("router", R1): FOREIGN_STATE, ("router", R2): FOREIGN_STATE, ("host", "vm1"): FOREIGN_STATE}
    )
    plugin = FakePlugin(transport, [a_router(id=R2)])
    plugin.fail_next("sync_routers", ValueError("no database"), times=3)
    agent = OpenAgent(conf, "node1", dataplane=dataplane, transport=transport)
    with running(plugin, service_of(agent)):
        wait_idle(agent)
    assert local_ids(dataplane) == {R2}
    assert ("host", "vm1") in dataplane.states


def test_nothing_is_removed_while_the_server_does_not_answer(
    make_agent: MakeAgent, service_of: ServiceOf, conf: cfg.ConfigOpts, transport: Any, dataplane: FakeDataplane
) -> None:
    dataplane.states[("router", R1)] = FOREIGN_STATE
    agent = make_agent()
    with running(service_of(agent)):
        eventlet.sleep(0.2)
        assert local_ids(dataplane) == {R1}
        assert not agent.full_sync.in_sync


def test_a_router_added_while_a_full_sync_runs_is_not_removed_by_it(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    plugin.delays["get_router_ids"] = 0.2
    agent.full_sync.request("test")
    wait_until(lambda: len(plugin.called("get_router_ids")) == 2)
    serve(plugin, a_router(id=R1))
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in local_ids(dataplane))
    wait_idle(agent)
    assert R1 in local_ids(dataplane)


@pytest.mark.feature("sync.priority")
def test_updates_overtake_a_full_sync(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane, conf: cfg.ConfigOpts
) -> None:
    conf.set_override("router_workers", 1, group="l3agent")
    serve(plugin, *routers(20))
    dataplane.delay = 0.02
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: agent.queue.counts()["waiting"] > 10)
        serve(plugin, *routers(20), a_router(id=R3))
        agent.routers_updated(None, [R3])
        wait_idle(agent)
    order = [router_id for (_, router_id), _ in dataplane.applied]
    assert order.index(R3) < 12


@pytest.mark.feature("process.revived")
@pytest.mark.parametrize("trigger", ["agent_updated", "connection_lost", "revived"])
def test_whatever_may_have_cost_an_update_brings_a_full_sync(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, trigger: str
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1))
    if trigger == "agent_updated":
        plugin.cast_to_agents("agent_updated", payload={"admin_state_up": True})
    elif trigger == "connection_lost":
        agent.connection_lost()
    else:
        plugin.report_answer = "revived"
        agent.report_state()
        plugin.report_answer = "alive"
    wait_until(lambda: local_ids(dataplane) == {R1})


@pytest.mark.feature("sync.rate")
def test_one_broker_lost_by_both_consumers_brings_one_full_sync(
    agent: OpenAgent, plugin: FakePlugin, conf: cfg.ConfigOpts
) -> None:
    wait_idle(agent)
    conf.set_override("resync_jitter", 0.2, group="l3agent")
    before = agent.full_sync.completed
    agent.connection_lost()
    agent.connection_lost()
    wait_idle(agent)
    assert agent.full_sync.completed == before + 1


@pytest.mark.feature("sync.periodic-resync")
def test_a_healthy_agent_asks_for_everything_now_and_then(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane, conf: cfg.ConfigOpts
) -> None:
    conf.set_override("resync_interval", 0.2, group="l3agent")
    agent = make_agent()
    with running(plugin, service_of(agent)):
        wait_idle(agent)
        # The cast got lost.
        serve(plugin, a_router(id=R1))
        wait_until(lambda: agent.periodic_sync_routers_task(None) or local_ids(dataplane) == {R1})


def test_without_an_interval_a_healthy_agent_has_no_periodic_full_sync(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, conf: cfg.ConfigOpts
) -> None:
    conf.set_override("resync_interval", 0, group="l3agent")
    agent = make_agent()
    with running(plugin, service_of(agent)):
        wait_idle(agent)
        agent.periodic_sync_routers_task(None)
        wait_idle(agent)
        assert len(plugin.called("get_router_ids")) == 1


@pytest.mark.feature("sync.chunks", "sync.resume")
def test_a_full_sync_goes_on_from_the_chunk_that_failed(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    conf: cfg.ConfigOpts,
    transport: Any,
) -> None:
    serve(plugin, *routers(600))
    agent = make_agent()
    asked = []
    real, failures = agent.plugin.sync_routers, [ServerUnavailable("slow"), ServerUnavailable("slow")]

    def sync_routers(router_ids: Any) -> Any:
        asked.append(list(router_ids))
        if len(asked) > 1 and failures:
            raise failures.pop()
        return real(router_ids)

    agent.plugin.sync_routers = sync_routers
    with running(plugin, service_of(agent)):
        wait_idle(agent)
    assert [len(ids) for ids in asked] == [256, 256, 128, 64, 128, 152]
    assert asked[0] + asked[3] + asked[4] + asked[5] == [router["id"] for router in routers(600)]
    assert len(local_ids(dataplane)) == 600


# Notifications of the server


def test_a_router_is_made_changed_and_removed_by_casts(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1))
    plugin.cast_to_agents("routers_updated", routers=[R1])
    wait_until(lambda: local_ids(dataplane) == {R1})
    serve(plugin, a_router(id=R1, gw_port=None))
    plugin.cast_to_agents("routers_updated", routers=[{"id": R1, "old": "form"}])
    wait_until(lambda: router_state(dataplane, R1).gateway is None)
    plugin.cast_to_agents("router_deleted", router_id=R1)
    wait_until(lambda: not local_ids(dataplane) and not agent.router_info)
    assert agent.routers.recent_removals[-1]["id"] == R1


def test_a_changed_network_updates_the_routers_on_it_and_no_others(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, a_router(id=R1, gw_port=a_gateway()), a_router(id=R2, gw_port=None))
    agent.connection_lost()
    wait_until(lambda: local_ids(dataplane) == {R1, R2})
    wait_idle(agent)
    before = len(plugin.called("sync_routers"))
    serve(plugin, a_router(id=R1, gw_port=a_gateway(mtu=1400)))
    network = {"id": a_gateway()["network_id"], "mtu": 1400}
    plugin.cast_to_agents("network_update", topic=NETWORK_UPDATE_TOPIC, version="1.4", network=network)
    wait_until(lambda: getattr(router_state(dataplane, R1).gateway, "mtu", None) == 1400)
    assert [call["router_ids"] for call in plugin.called("sync_routers")[before:]] == [[R1]]


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("add_arp_entry", {"payload": {"router_id": R1, "arp_table": {}}}),
        ("del_arp_entry", {"payload": {"router_id": R1, "arp_table": {}}}),
        ("fipnamespace_delete_on_ext_net", {"ext_net_id": "public"}),
    ],
)
def test_what_concerns_distributed_routers_is_taken_and_ignored(
    agent: OpenAgent, plugin: FakePlugin, caplog: pytest.LogCaptureFixture, method: str, arguments: Any
) -> None:
    plugin.cast_to_agents(method, version="1.3", **arguments)
    # A fanout of the same topic is worked on in order.
    serve(plugin, a_router(id=R1))
    plugin.cast_to_agents("routers_updated", routers=[R1])
    wait_until(lambda: R1 in agent.router_info)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_router_that_moves_away_is_removed_and_one_that_comes_is_made(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1))
    client = Client(plugin._transport, "l3_agent", timeout=1)
    client.call(admin_context(), "router_added_to_agent", payload=[R1])
    wait_until(lambda: local_ids(dataplane) == {R1})
    plugin.cast_to_agents("router_removed_from_agent", payload={"router_id": R1})
    wait_until(lambda: not local_ids(dataplane))


@pytest.mark.feature("sync.removal")
def test_a_router_missing_from_the_answer_is_removed(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1))
    agent.routers_updated(None, [R1])
    wait_until(lambda: local_ids(dataplane) == {R1})
    serve(plugin)
    agent.routers_updated(None, [R1])
    wait_until(lambda: not local_ids(dataplane))


@pytest.mark.feature("process.calls")
def test_an_endpoint_answers_at_once_while_all_workers_are_busy(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, *routers(30))
    dataplane.delay = 1.0
    agent.routers_updated(None, [router["id"] for router in routers(30)])
    wait_until(lambda: len(agent.in_flight) == 8)
    client = Client(plugin._transport, "l3_agent", timeout=0.5)
    client.call(admin_context(), "router_added_to_agent", payload=[R1])
    dataplane.delay = 0


# Workers


@pytest.mark.feature("sync.one-worker-per-router", "sync.parallel")
@pytest.mark.parametrize("workers", [None, 3])
def test_eight_workers_and_never_two_on_one_router(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    conf: cfg.ConfigOpts,
    workers: Any,
) -> None:
    """Expect the value of option ``router_workers``, eight by default."""
    if workers:
        conf.set_override("router_workers", workers, group="l3agent")
    serve(plugin, *routers(20))
    dataplane.delay, busy = 0.02, set()
    with running(plugin, service_of(agent := make_agent())):
        wait_idle(agent)
        for _ in range(10):
            agent.routers_updated(None, [router["id"] for router in routers(20)])
            eventlet.sleep(0.01)
            busy.add(len(agent.in_flight))
        wait_idle(agent)
    assert max(busy) == (workers or 8)
    assert dataplane.collisions == []


@pytest.mark.feature("process.readiness")
def test_it_is_ready_when_a_full_sync_was_completed(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin
) -> None:
    """READY=1 waits for this, as long as a service manager has patience."""
    plugin.delays["get_router_ids"] = 0.2
    with running(plugin, service := service_of(agent := make_agent())) as services:
        assert not service.ready() and services.list_not_ready() == ["neutron-l3-agent"]
        wait_idle(agent)
        assert service.ready() and services.list_not_ready() == []


@pytest.mark.feature("sync.rate")
def test_a_burst_of_one_hundred_updates_costs_few_calls(agent: OpenAgent, plugin: FakePlugin) -> None:
    wait_idle(agent)
    serve(plugin, *routers(100))
    plugin.delays["sync_routers"] = 0.01
    agent.routers_updated(None, [router["id"] for router in routers(100)])
    wait_idle(agent)
    assert len(agent.router_info) == 100
    assert len(plugin.called("sync_routers")) <= 5
    assert sum(len(call["router_ids"]) for call in plugin.called("sync_routers")) == 100


@pytest.mark.feature("sync.rate")
def test_a_server_is_asked_for_less_at_a_time_when_it_fails_and_for_more_when_it_answers_soon(
    agent: OpenAgent, plugin: FakePlugin
) -> None:
    wait_idle(agent)
    serve(plugin, *routers(100))
    answered, most = [], 4
    original = plugin.sync_routers

    def choking(context: Any, **arguments: Any) -> Any:
        if len(arguments["router_ids"]) > most:
            raise RuntimeError("too much at a time")
        answered.append(len(arguments["router_ids"]))
        return original(context, **arguments)

    plugin.sync_routers = choking
    agent.routers_updated(None, [router["id"] for router in routers(100)])
    wait_idle(agent)
    assert len(agent.router_info) == 100
    assert max(answered) <= 4
    most = 1000
    agent.routers_updated(None, [router["id"] for router in routers(100)])
    wait_idle(agent)
    assert max(answered) > 8


@pytest.mark.feature("sync.rate")
def test_how_much_is_asked_for_follows_the_time_that_answers_take() -> None:
    size = BatchSize(32, 1)
    sizes = []
    for took in (6, 6, 3, 0.1, 0.1, 0.1):
        size.adapt(took)
        sizes.append(size.value)
    assert sizes == [16, 8, 8, 16, 32, 32]


def test_a_worker_that_dies_is_logged_and_replaced_and_its_router_tried_again(
    agent: OpenAgent,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    wait_idle(agent)
    serve(plugin, *routers(20))
    dataplane.fail_next(SystemExit("gone"), times=4)
    dataplane.fail_next(ZeroDivisionError("bug"), times=4)
    dataplane.fail_next(eventlet.Timeout(), times=4)
    agent.routers_updated(None, [router["id"] for router in routers(20)])
    wait_idle(agent)
    assert len(local_ids(dataplane)) == 20
    # One traceback for each cause.
    assert len([record for record in caplog.records if "the worker failed" in record.message and record.exc_info]) == 3
    output = capfd.readouterr().err
    assert "Traceback" not in output, output


@pytest.mark.feature("sync.isolation")
def test_one_bad_router_does_not_stop_the_others(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, *routers(5), a_router(id=R3, _interfaces="nonsense"))
    agent.routers_updated(None, [*plugin.routers])
    wait_idle(agent)
    assert len(local_ids(dataplane)) == 5
    assert agent.router_info[R3].status == "error"
    assert "_interfaces" in str(agent.router_info[R3].error)


def test_an_invalid_router_is_not_tried_again_until_its_next_update(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1, _interfaces="nonsense"))
    agent.routers_updated(None, [R1])
    wait_idle(agent)
    eventlet.sleep(0.2)
    assert len(plugin.called("sync_routers")) == 1
    serve(plugin, a_router(id=R1))
    agent.routers_updated(None, [R1])
    wait_until(lambda: local_ids(dataplane) == {R1})


def test_a_router_that_becomes_incompatible_is_removed(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1))
    agent.routers_updated(None, [R1])
    wait_until(lambda: local_ids(dataplane) == {R1})
    serve(plugin, a_router(id=R1, distributed=True))
    agent.routers_updated(None, [R1])
    wait_until(lambda: not local_ids(dataplane) and not agent.router_info)


@pytest.mark.parametrize("error", [ApplyError("RTM_NEWLINK: no"), DataplaneUnavailable("gone")])
def test_what_failed_in_the_data_plane_is_tried_again_for_ever(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, error: Any
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1))
    dataplane.fail_next(error, times=10)
    agent.routers_updated(None, [R1])
    wait_until(lambda: agent.queue.counts()["retrying"] and agent.router_info[R1].status == "error")
    wait_until(lambda: local_ids(dataplane) == {R1})
    assert agent.router_info[R1].status == "active"
    assert len(plugin.called("sync_routers")) == 1


def test_a_router_the_server_cannot_answer_for_does_not_hold_up_the_others(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, *routers(40))
    bad = routers(40)[3]["id"]
    real = plugin.sync_routers

    def sync_routers(context: Any, **arguments: Any) -> Any:
        if bad in arguments["router_ids"]:
            raise ValueError("no such port")
        return real(context, **arguments)

    plugin.sync_routers = sync_routers
    agent.routers_updated(None, [router["id"] for router in routers(40)])
    wait_until(lambda: len(local_ids(dataplane)) == 39)


def test_a_slow_answer_older_than_a_deletion_does_not_bring_the_router_back(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1), a_router(id=R2))
    plugin.delays["sync_routers"] = 0.1
    agent.full_sync.request("test")
    wait_until(lambda: plugin.called("sync_routers"))
    agent.router_deleted(None, R1)
    wait_idle(agent)
    assert local_ids(dataplane) == {R2}


def test_a_new_data_plane_process_gets_all_routers_without_asking_the_server(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, *routers(5))
    agent.full_sync.request("test")
    wait_until(lambda: len(local_ids(dataplane)) == 5)
    wait_idle(agent)
    calls = len(plugin.calls)
    dataplane.states.clear()
    dataplane.restart()
    wait_until(lambda: len(local_ids(dataplane)) == 5)
    assert len(plugin.calls) == calls


# Floating IPs


def fips(*addresses: int, status: str = "DOWN") -> list[dict[str, Any]]:
    return [a_floating_ip(f"203.0.113.{n}", f"10.0.0.{n}") | {"id": f"fip{n}", "status": status} for n in addresses]


def test_the_server_learns_that_floating_ips_are_up_and_down(agent: OpenAgent, plugin: FakePlugin) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1, _floatingips=fips(101, 102)))
    agent.routers_updated(None, [R1])
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ACTIVE", "fip102": "ACTIVE"})
    serve(plugin, a_router(id=R1, _floatingips=fips(101, status="ACTIVE")))
    agent.routers_updated(None, [R1])
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ACTIVE", "fip102": "DOWN"})
    assert len(plugin.called("update_floatingip_statuses")) == 2


def test_a_restarted_agent_reports_no_known_status_again(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin
) -> None:
    serve(plugin, a_router(id=R1, _floatingips=fips(101, status="ACTIVE")))
    with running(plugin, service_of(agent := make_agent())):
        wait_idle(agent)
        eventlet.sleep(0.05)
    assert not plugin.called("update_floatingip_statuses")


@pytest.mark.feature("router.floating-ip-status")
def test_floating_ips_of_a_router_that_fails_are_in_error_until_it_works(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1, _floatingips=fips(101, status="ACTIVE")))
    dataplane.fail_next(ApplyError("no"), times=3)
    agent.routers_updated(None, [R1])
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ERROR"})
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ACTIVE"})


def test_a_floating_ip_that_moves_between_routers_here_ends_active(agent: OpenAgent, plugin: FakePlugin) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1, _floatingips=fips(101)), a_router(id=R2))
    agent.routers_updated(None, [R1, R2])
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ACTIVE"})
    serve(plugin, a_router(id=R1), a_router(id=R2, _floatingips=fips(101, status="ACTIVE")))
    for order in ([R2], [R1]):
        agent.routers_updated(None, order)
        wait_idle(agent)
    wait_until(lambda: not agent.parts.statuses._pending)
    assert plugin.fip_statuses == {"fip101": "ACTIVE"}


def test_a_failed_status_call_is_repeated_without_the_router(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_idle(agent)
    plugin.fail_next("update_floatingip_statuses", ValueError("deadlock"), times=3)
    serve(plugin, a_router(id=R1, _floatingips=fips(101)))
    agent.routers_updated(None, [R1])
    wait_until(lambda: plugin.fip_statuses == {"fip101": "ACTIVE"})
    assert len(dataplane.applied) == 1


# State reports and stop


def test_a_state_report_counts_what_is_here(agent: OpenAgent, plugin: FakePlugin) -> None:
    wait_idle(agent)
    serve(plugin, a_router(id=R1, _floatingips=fips(101)), a_router(id=R2, gw_port=None))
    agent.routers_updated(None, [R1, R2])
    wait_until(lambda: len(agent.router_info) == 2)
    wait_idle(agent)
    agent.report_state()
    state = plugin.called("report_state")[-1]["agent_state"]["agent_state"]
    assert (state["binary"], state["topic"], state["agent_type"]) == ("neutron-l3-agent", "l3_agent", "L3 agent")
    assert state["configurations"] == {
        "agent_mode": "legacy",
        "handle_internal_only_routers": True,
        "interface_driver": "openvswitch",
        "log_agent_heartbeats": False,
        "extensions": [],
        "routers": 2,
        "ex_gw_ports": 1,
        "interfaces": 2,
        "floating_ips": 1,
    }


@pytest.mark.feature("process.graceful-stop")
def test_a_stopping_agent_finishes_what_is_in_the_data_plane_and_takes_nothing_new(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, *routers(20))
    dataplane.delay = 0.1
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: len(agent.in_flight) == 8)
    assert len(local_ids(dataplane)) == 8
    assert agent.pool.running() == 0 or not agent.routers.in_kernel_work


@pytest.mark.feature("process.stop-keeps-routers")
def test_a_stopping_agent_removes_nothing(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    serve(plugin, *routers(3))
    with running(plugin, service_of(agent := make_agent())):
        wait_idle(agent)
    assert len(local_ids(dataplane)) == 3
