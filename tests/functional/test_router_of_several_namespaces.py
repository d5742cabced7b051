# SPDX-License-Identifier: Apache-2.0
"""A router with two namespaces: sent, reported, shown, resynchronised and removed as a unit.

The second namespace is that of a simulated host: no router has one of its own yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.resource_update import PRIORITY_RPC, Action, ResourceUpdate
from l3agent.conf import register_opts
from l3agent.exceptions import ApplyError
from l3agent.model.states import NamespaceState, Port, RouterState
from l3agent.ops.control_operations import build_operations
from l3agent.rpc import get_transport
from tests.support.agents import OpenAgent
from tests.support.processes import Dataplane
from tests.support.states import host, namespace, new_id, only_port, port, router

pytestmark = pytest.mark.kernel


class Node:
    """An agent whose router has two namespaces, with a real data plane."""

    def __init__(self, machine: Dataplane, folder: Path) -> None:
        conf = cfg.ConfigOpts()
        register_opts(conf)
        conf([])
        conf.set_override("state_path", str(folder))
        self.machine = machine
        self.client = DataplaneClient(str(machine.socket_path), timeout=30)
        transport = get_transport(conf, "local:///several")
        self.agent = OpenAgent(conf, "node1", dataplane=self.client, transport=transport)
        self.operations = build_operations(self.agent.view, self.agent.actions, self.client)
        network = new_id()
        outside = port(new_id(), "203.0.113.10/24", gateway=True)
        inner = port(network, "10.0.0.1/24")
        self.first = router(inner, gateway=outside, fips={"203.0.113.100": "10.0.0.5"})
        self.second = host(network, "10.0.0.5/24", routes={"0.0.0.0/0": "10.0.0.1"})
        self.router_id = self.first.id
        self.state = RouterState(self.router_id, (self.first, self.second))

    def update(self, *namespaces: NamespaceState) -> int:
        """Apply a router with these namespaces; return the number of operations."""
        self.state = RouterState(self.router_id, namespaces)
        self.agent.routers.update(self._update(Action.UPDATE), {})
        return self.agent.router_info[self.router_id].count

    def remove(self) -> None:
        self.agent.routers.remove(self._update(Action.DELETE), {})

    def ask(self, operation: str) -> Any:
        """Return the answer of the control socket for the router."""
        return self.operations[operation]({"router": self.router_id})

    def namespaces(self) -> set[str]:
        """Return the names of the namespaces in the kernel."""
        return {one["name"] for one in self.machine.sandbox.json("ip -j netns")}

    def _update(self, action: Action) -> ResourceUpdate:
        return ResourceUpdate(self.router_id, action, PRIORITY_RPC, 1, 0.0, {"id": self.router_id})


@pytest.fixture
def node(machine: Dataplane, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    machine.hang_up()
    node = Node(machine, folder)
    monkeypatch.setattr("l3agent.agent.routers.desired_state", lambda *_, **__: node.state)
    node.client.start()
    yield node
    node.client.stop()


def test_all_namespaces_are_built_in_one_request_and_reported_together(node: Node) -> None:
    requests: list[int] = []
    exchange = node.client.reconcile

    def counted(states: Any, **options: Any) -> Any:
        requests.append(len(states))
        return exchange(states, **options)

    node.client.reconcile = counted  # type: ignore[method-assign]
    assert node.update(node.first, node.second) > 10
    assert requests == [2]
    assert {namespace(node.first), namespace(node.second)} <= node.namespaces()
    info = node.agent.router_info[node.router_id]
    assert (info.status, info.error) == ("active", None)
    # The second comes after the first.
    assert namespace(node.first) in info.operations[0]
    assert any(namespace(node.second) in line for line in info.operations[1:])
    assert set(info.timings) >= {"observe", "plan", "apply"}
    assert node.update(node.first, node.second) == 0
    node.machine.sandbox.run(["ping", "-n", "-c", "1", "-w", "20", "203.0.113.100"], netns=namespace(node.second))
    node.remove()


def test_views_show_all_namespaces(node: Node) -> None:
    node.update(node.first, node.second)
    (shown,) = node.ask("show").values()
    names = {one["name"] for one in shown["actual"] if one["kind"] == "namespace"}
    assert names == {namespace(node.first), namespace(node.second)}
    assert shown["plan"] == []
    assert sorted(map(str, shown["actual"])) == sorted(map(str, shown["desired"]))
    counters = node.ask("traffic")["routers"][node.router_id]
    assert set(counters["devices"]) == {one.device for one in node.state.all_ports()}
    assert node.ask("plan")["plans"] == {node.router_id: []}
    described = node.operations["topology"]({})["routers"][0]
    assert [one["gateway"] for one in described["ports"]] == [True, False, False]
    node.remove()


def test_a_resync_reads_and_repairs_all_namespaces(node: Node) -> None:
    node.update(node.first, node.second)
    # No drift repair, which would be faster than the resync.
    node.client.unmanage(node.agent.routers.keys(node.router_id))
    sandbox = node.machine.sandbox
    sandbox.run(["ip", "addr", "del", "203.0.113.100/32", "dev", gateway(node).device], netns=namespace(node.first))
    sandbox.run(["ip", "route", "del", "default"], netns=namespace(node.second))
    planned = node.ask("plan")["plans"][node.router_id]
    assert all(any(namespace(one) in line for line in planned) for one in node.state.namespaces)
    node.ask("resync")
    assert node.update(node.first, node.second) == len(planned)
    assert node.ask("plan")["plans"] == {node.router_id: []}
    node.remove()


def test_a_namespace_that_a_router_no_longer_has_is_removed(node: Node) -> None:
    node.update(node.first, node.second)
    node.update(node.first)
    assert namespace(node.first) in node.namespaces()
    assert namespace(node.second) not in node.namespaces()
    node.update(node.second)
    assert namespace(node.first) not in node.namespaces()
    assert namespace(node.second) in node.namespaces()
    node.remove()


def test_a_failed_removal_is_repeated_with_the_next_state(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.update(node.first, node.second)
    with monkeypatch.context() as patch:
        patch.setattr(node.client, "reconcile", failing)
        with pytest.raises(ApplyError):
            node.update(node.first)
    node.update(node.first)
    assert namespace(node.second) not in node.namespaces()
    node.remove()


def test_an_error_in_one_namespace_is_that_of_the_router(node: Node) -> None:
    (inner,) = node.first.ports
    # Another port, of which the outer end would have the same name.
    taken = replace(only_port(node.second), id=f"{inner.id[:-1]}1")
    wrong = replace(node.second, ports=frozenset({taken}))
    with pytest.raises(ApplyError):
        node.update(node.first, wrong)
    assert node.agent.router_info[node.router_id].status == "error"
    # The other namespace is served nevertheless.
    assert namespace(node.first) in node.namespaces()
    node.remove()


def test_a_router_is_removed_with_all_its_namespaces(node: Node) -> None:
    node.update(node.first, node.second)
    node.remove()
    assert not {namespace(node.first), namespace(node.second)} & node.namespaces()
    (removal,) = node.agent.routers.recent_removals
    # In reverse order.
    lines = [line for line in removal["operations"] if "netns del" in line]
    assert [namespace(node.second) in lines[0], namespace(node.first) in lines[1]] == [True, True]
    assert node.router_id not in node.agent.router_info


def gateway(node: Node) -> Port:
    assert node.first.gateway is not None
    return node.first.gateway


def failing(*_: Any, **__: Any) -> Any:
    raise ApplyError("no answer")
