# SPDX-License-Identifier: Apache-2.0
"""RPC messages by name, version and arguments, to current servers and to servers of Mitaka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.agent.plugin_api import L3PluginApi
from l3agent.exceptions import RouterNotCompatible
from l3agent.model.desired import desired_state
from l3agent.rpc import Client, Connection, RemoteError, Target, admin_context
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import FOREIGN_STATE, MakeAgent, OpenAgent, ServiceOf, router_state
from tests.support.payloads import a_floating_ip, a_router, legacy_payload
from tests.support.states import desired_namespace

R1, R2 = (f"cffffff{number}-0000-4000-8000-000000000000" for number in (1, 2))
LEGACY = legacy_payload()["id"]
HERE = Path(__file__).parent


def local_ids(dataplane: FakeDataplane) -> set[str]:
    return {router_id for kind, router_id in dataplane.states if kind == "router"}


# Agent to server


class Recorder:
    """Remembers what would be sent."""

    def __init__(self, answer: Any = ()) -> None:
        self.sent: list[tuple[str, str, str | None, Any]] = []
        self.answer = answer

    def call(self, context: Any, method: str, /, *, version: str | None = None, **arguments: Any) -> Any:
        self.sent.append(("call", method, version, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def cast(self, context: Any, method: str, /, *, version: str | None = None, **arguments: Any) -> None:
        self.sent.append(("cast", method, version, arguments))


CALLS = [
    ("get_router_ids", (), "call", "1.9", {"host": "node1"}),
    ("sync_routers", (["r"],), "call", "1.0", {"host": "node1", "router_ids": ["r"]}),
    (
        "update_floatingip_statuses",
        ("r", {"f": "ACTIVE"}),
        "call",
        "1.1",
        {"router_id": "r", "fip_statuses": {"f": "ACTIVE"}},
    ),
    ("get_service_plugin_list", (), "call", "1.3", {}),
    ("get_host_ha_router_count", (), "call", "1.11", {"host": "node1"}),
    (
        "update_ha_routers_states",
        ({"r": "active"},),
        "cast",
        "1.5",
        {"host": "node1", "states": {"r": "active"}},
    ),
    ("update_all_ha_network_port_statuses", (), "call", "1.10", {"host": "node1"}),
    ("get_ports_by_subnet", ("s",), "call", "1.2", {"host": "node1", "subnet_id": "s"}),
    ("get_agent_gateway_port", ("n",), "call", "1.2", {"network_id": "n", "host": "node1"}),
    ("delete_agent_gateway_port", ("n",), "call", "1.7", {"host": "node1", "network_id": "n"}),
    ("get_networks", ({"id": ["n"]}, ["mtu"]), "call", "1.12", {"filters": {"id": ["n"]}, "fields": ["mtu"]}),
]


@pytest.mark.feature("process.first-report")
@pytest.mark.parametrize(("method", "arguments", "kind", "version", "sent"), CALLS, ids=[call[0] for call in CALLS])
def test_each_request_has_the_name_the_version_and_the_arguments_of_the_contract(
    method: Any, arguments: Any, kind: Any, version: Any, sent: Any
) -> None:
    recorder = Recorder()
    getattr(L3PluginApi(recorder, "node1"), method)(*arguments)
    assert recorder.sent == [(kind, method, version, sent)]


@pytest.mark.parametrize("error", ["NoSuchMethod", "UnsupportedVersion"])
@pytest.mark.parametrize("method", ["get_host_ha_router_count", "update_all_ha_network_port_statuses", "get_networks"])
def test_a_method_that_an_old_server_lacks_is_tried_once(method: str, error: str) -> None:
    recorder = Recorder(RemoteError(error, "older"))
    api = L3PluginApi(recorder, "node1")
    assert [getattr(api, method)() for _ in range(3)] in ([None] * 3, [[]] * 3)
    assert len(recorder.sent) == 1


def test_another_error_of_such_a_method_is_an_error() -> None:
    with pytest.raises(RemoteError):
        L3PluginApi(Recorder(RemoteError("DBDeadlock", "later")), "node1").get_networks()


# Server to agent


def test_an_unknown_method_and_a_newer_version_are_answered_as_by_neutron_l3_agent(
    agent: OpenAgent, plugin: FakePlugin
) -> None:
    client = Client(plugin._transport, "l3_agent", timeout=5)
    for method, version, kind in (("no_such_thing", "1.0", "NoSuchMethod"), ("agent_updated", "1.9", "Unsupported")):
        with pytest.raises(RemoteError) as error:
            client.call(admin_context(), method, version=version, payload={})
        assert error.value.exc_type.startswith(kind)


@pytest.mark.parametrize("method", ["stop", "init_host", "report_state", "periodic_sync_routers_task", "reapply_all"])
def test_who_reaches_the_broker_cannot_run_the_agents_life(agent: OpenAgent, plugin: FakePlugin, method: str) -> None:
    client = Client(plugin._transport, "l3_agent", timeout=5)
    with pytest.raises(RemoteError) as error:
        client.call(admin_context(), method)
    assert error.value.exc_type == "NoSuchMethod"


@pytest.mark.feature("sync.unserved-kinds")
def test_a_router_with_another_type_is_removed_and_taken_again(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, caplog: pytest.LogCaptureFixture
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    for there, change in ((True, {}), (False, {"ha": True}), (True, {}), (False, {"distributed": True}), (True, {})):
        plugin.routers = {R1: a_router(id=R1) | change}
        agent.routers_updated(None, [R1])
        wait_until(lambda expected={R1} if there else set(): local_ids(dataplane) == expected)  # type: ignore[misc]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.feature("sync.unserved-kinds")
@pytest.mark.parametrize("kind", ["ha", "distributed"])
def test_a_router_of_another_kind_that_was_never_served_here_is_left_alone_and_named(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane, kind: str
) -> None:
    """Build a node of neutron-l3-agent that is taken over while HA routers run on it."""
    dataplane.states[("router", R1)] = built = FOREIGN_STATE
    plugin.routers = {R1: a_router(id=R1) | {kind: True}, R2: a_router(id=R2)}
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: agent.full_sync.in_sync)
        agent.routers_updated(None, [R1])
        wait_until(lambda: agent.full_sync.in_sync and local_ids(dataplane) == {R1, R2})
        assert dataplane.states[("router", R1)] is built
        assert agent.router_info[R1].status == "error" and kind in str(agent.router_info[R1].error)
        # Unscheduled by the server: the namespace is removed.
        agent.router_removed_from_agent(None, {"router_id": R1})
        wait_until(lambda: local_ids(dataplane) == {R2} and R1 not in agent.router_info)


def test_a_router_that_was_never_served_here_outlasts_a_cleanup_at_the_end_and_has_its_time_of_grace(
    conf: cfg.ConfigOpts, make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    conf.set_override("cleanup_on_shutdown", True)
    conf.set_override("orphan_grace_period", -1, group="l3agent")
    dataplane.states[("router", R1)] = built = FOREIGN_STATE
    plugin.routers = {R1: a_router(id=R1) | {"ha": True}, R2: a_router(id=R2)}
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: agent.full_sync.in_sync and local_ids(dataplane) == {R1, R2})
        del plugin.routers[R1]
        agent.full_sync.request("test")
        wait_until(lambda: agent.full_sync.completed > 1 and agent.full_sync.in_sync)
        assert agent.orphans.ages().keys() == {R1}
    assert dataplane.states == {("router", R1): built}


@pytest.mark.feature("sync.unserved-kinds")
@pytest.mark.parametrize("kind", ["ha-primary", "dvr-compute", "dvr-snat", "dvr-ha-snat"])
def test_routers_of_another_kind_as_real_servers_send_them_are_refused(kind: str) -> None:
    for router in json.loads((HERE / "payloads" / f"{kind}.json").read_text()):
        with pytest.raises(RouterNotCompatible):
            desired_state(router)


@pytest.mark.parametrize(("count", "rebooted"), [(2, True), (2, False), (0, True)])
def test_after_a_reboot_ha_ports_are_reported_down_before_the_first_state_report(
    make_agent: MakeAgent,
    service_of: ServiceOf,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    rebooted: bool,
) -> None:
    reports = []
    monkeypatch.setattr(plugin, "get_host_ha_router_count", lambda context, host: count, raising=False)
    monkeypatch.setattr(
        plugin,
        "update_all_ha_network_port_statuses",
        lambda context, host: reports.append((host, len(plugin.called("report_state")))),
        raising=False,
    )
    if not rebooted:
        dataplane.states[("router", R1)] = FOREIGN_STATE
    agent = make_agent()
    with running(plugin, service_of(agent)):
        wait_until(lambda: agent.full_sync.completed)
    assert reports == ([("node1", 0)] if count and rebooted else [])


def test_internal_only_routers_are_removed_when_they_are_not_wanted(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, conf: cfg.ConfigOpts
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1, gw_port=None), R2: a_router(id=R2)}
    agent.routers_updated(None, [R1, R2])
    wait_until(lambda: local_ids(dataplane) == {R1, R2})
    conf.set_override("handle_internal_only_routers", False)
    agent.full_sync.request("test")
    wait_until(lambda: local_ids(dataplane) == {R2})


def test_a_floating_ip_that_moves_to_another_port_is_reported_active(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    for fixed in ("10.0.0.5", "10.0.0.6"):
        fip = a_floating_ip("203.0.113.99", fixed)  # DOWN in the server until a report
        plugin.routers = {R1: a_router(id=R1, _floatingips=[fip])}
        plugin.fip_statuses.clear()
        agent.routers_updated(None, [R1])
        wait_until(lambda: plugin.fip_statuses == {"floating 203.0.113.99": "ACTIVE"})
        (pair,) = router_state(dataplane, R1).floating_ips
        assert str(pair.fixed) == fixed


def test_many_floating_ips_of_a_router_are_reported_in_one_call(agent: OpenAgent, plugin: FakePlugin) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    fips = [a_floating_ip(f"203.0.113.{number}", f"10.0.0.{number}") for number in range(20, 120)]
    plugin.routers = {R1: a_router(id=R1, _floatingips=fips)}
    agent.routers_updated(None, [R1])
    wait_until(lambda: len(plugin.fip_statuses) == 100)
    assert len(plugin.called("update_floatingip_statuses")) == 1


# A server of Mitaka


class MitakaServer:
    """Return the answers of neutron-server 8: versions 1.9 of the L3 API and 1.1 of state reports, and their keys."""

    class Reports:
        target = Target(version="1.1")

        def __init__(self, server: MitakaServer) -> None:
            self.server = server

        def report_state(self, context: Any, **arguments: Any) -> str:
            self.server.calls.append(("report_state", arguments))
            return "alive"

    target = Target(version="1.9")

    def __init__(self, transport: Any, routers: list[dict[str, Any]]) -> None:
        self.transport = transport
        self.routers = routers
        self.calls: list[tuple[str, Any]] = []
        self.contexts: list[Any] = []

    def start(self) -> None:
        self.connection = Connection(self.transport, host="server")
        self.connection.create_consumer("q-l3-plugin", [self])
        self.connection.create_consumer("q-reports-plugin", [self.Reports(self)])
        self.connection.consume_in_threads()

    def stop(self) -> None:
        self.connection.close()

    def wait(self) -> None:
        pass

    def reset(self) -> None:
        pass

    def get_router_ids(self, context: Any, **arguments: Any) -> list[str]:
        self.calls.append(("get_router_ids", arguments))
        self.contexts.append(context)
        return [router["id"] for router in self.routers]

    def sync_routers(self, context: Any, **arguments: Any) -> list[dict[str, Any]]:
        self.calls.append(("sync_routers", arguments))
        return [router for router in self.routers if router["id"] in arguments["router_ids"]]

    def update_floatingip_statuses(self, context: Any, router_id: str, fip_statuses: Any) -> None:
        self.calls.append(("update_floatingip_statuses", fip_statuses))

    def update_ha_routers_states(self, context: Any, **arguments: Any) -> None:
        self.calls.append(("update_ha_routers_states", arguments))


#: Keys of today's payloads that a server of Mitaka does not send.
NEWER = {
    "_pf_floatingips",
    "port_forwardings_fip_set",
    "fip_managed_by_port_forwardings",
    "conntrack_helpers",
    "enable_ndp_proxy",
    "enable_default_route_bfd",
    "enable_default_route_ecmp",
    "revision_number",
    "tags",
    "created_at",
    "updated_at",
}


@pytest.fixture
def mitaka(transport: Any) -> MitakaServer:
    assert legacy_payload().keys() & NEWER
    router = {key: value for key, value in legacy_payload().items() if key not in NEWER}
    for fip in router["_floatingips"]:
        fip["status"] = "DOWN"
    del router["ha"], router["distributed"]  # absent unless their plug-ins are loaded
    return MitakaServer(transport, [router])


@pytest.fixture
def old_cloud(mitaka: MitakaServer, make_agent: MakeAgent, service_of: ServiceOf) -> Iterator[OpenAgent]:
    agent = make_agent()
    with running(mitaka, service_of(agent)):
        wait_until(lambda: agent.full_sync.in_sync)
        yield agent


@pytest.mark.feature("process.old-servers")
def test_an_agent_serves_a_server_of_mitaka(
    old_cloud: OpenAgent, mitaka: MitakaServer, dataplane: FakeDataplane
) -> None:
    (fip,) = mitaka.routers[0]["_floatingips"]
    wait_until(lambda: ("update_floatingip_statuses", {fip["id"]: "ACTIVE"}) in mitaka.calls)
    assert dataplane.states[("router", LEGACY)] == desired_namespace(legacy_payload())
    assert mitaka.contexts[0].is_admin


@pytest.mark.feature("process.old-servers")
def test_methods_that_mitaka_lacks_are_called_once_and_reports_continue(
    old_cloud: OpenAgent, mitaka: MitakaServer, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        old_cloud.report_state()
        old_cloud.full_sync.request("test")
        wait_until(lambda: old_cloud.full_sync.in_sync)
    lacking = [
        one
        for one in caplog.get_records("setup") + caplog.records
        if one.exc_info and "does not support" in str(one.exc_info[1])
    ]
    assert len(lacking) == 2, "get_host_ha_router_count 1.11, report_state 1.4"
    assert len([call for call in mitaka.calls if call[0] == "report_state"]) >= 4


@pytest.mark.feature("process.casts")
def test_casts_of_mitaka_are_understood(old_cloud: OpenAgent, mitaka: MitakaServer, dataplane: FakeDataplane) -> None:
    """Whole payloads instead of ids, and the version 1.3 of the agent's API."""
    client = Client(mitaka.transport, "l3_agent", timeout=5)
    mitaka.routers.append(a_router(id=R2))
    client.cast(admin_context(), "routers_updated", version="1.1", server="node1", routers=[a_router(id=R2)])
    wait_until(lambda: local_ids(dataplane) == {LEGACY, R2})
    client.cast(admin_context(), "fipnamespace_delete_on_ext_net", version="1.3", fanout=True, ext_net_id="n")
    client.cast(admin_context(), "router_deleted", version="1.0", fanout=True, router_id=R2)
    wait_until(lambda: local_ids(dataplane) == {LEGACY})


def test_states_of_ha_routers_are_cast_which_old_servers_take_as_well(
    old_cloud: OpenAgent, mitaka: MitakaServer
) -> None:
    old_cloud.plugin.update_ha_routers_states({R1: "active"})
    wait_until(lambda: ("update_ha_routers_states", {"host": "node1", "states": {R1: "active"}}) in mitaka.calls)
