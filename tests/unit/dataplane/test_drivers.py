# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.exceptions import ConfigError
from l3agent.model.interface_drivers import driver_name
from l3agent.model.states import Key
from tests.support.states import port

OWNER: Key = ("router", "11111111-2222-4333-8444-555555555555")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("bridge", "bridge"),
        ("linuxbridge", "linuxbridge"),
        ("openvswitch", "openvswitch"),
        ("neutron.agent.linux.interface.OVSInterfaceDriver", "openvswitch"),
        ("neutron.agent.linux.interface.BridgeInterfaceDriver", "linuxbridge"),
    ],
)
def test_drivers_are_known_by_the_names_and_class_paths_of_neutrons_files(value: str, name: str) -> None:
    assert driver_name(value) == name


@pytest.mark.parametrize("value", ["", "null", "ivs", "neutron.agent.linux.interface.NullDriver", "bridge2"])
def test_another_driver_is_refused_by_name(value: str) -> None:
    with pytest.raises(ConfigError, match=r"interface_driver: .*known are bridge, linuxbridge, openvswitch"):
        driver_name(value)


def test_a_port_of_the_integration_bridge() -> None:
    inner = port("net", "10.0.0.1/24")
    switch_port, link = load_driver("openvswitch").port(OWNER, inner)
    assert isinstance(switch_port, SwitchPort) and isinstance(link, Link)
    assert (switch_port.name, switch_port.bridge, switch_port.type) == (inner.device, "br-int", "internal")
    assert dict(switch_port.ids)["iface-id"] == inner.id
    assert link.is_ovs_internal and link.bridge is None


def test_a_port_of_a_gateway_goes_to_the_external_bridge_of_old_files() -> None:
    driver = load_driver("openvswitch", integration_bridge="br-i", external_bridge="br-ex")
    gateway, inner = port("net", "10.0.0.1/24", gateway=True), port("net", "10.0.0.1/24")
    assert [(one.bridge, one.has_tag) for one in driver.port(OWNER, gateway) if isinstance(one, SwitchPort)] == [
        ("br-ex", None)
    ]
    assert [(one.bridge, one.has_tag) for one in driver.port(OWNER, inner) if isinstance(one, SwitchPort)] == [
        ("br-i", True)
    ]


def test_with_veth_the_switch_gets_the_outer_end() -> None:
    inner = port("net", "10.0.0.1/24")
    switch_port, link = load_driver("openvswitch", use_veth=True).port(OWNER, inner)
    assert isinstance(switch_port, SwitchPort) and isinstance(link, Link)
    assert (switch_port.name, switch_port.type) == (f"tap{inner.id[:11]}", "")
    assert (link.device, link.tap, link.is_ovs_internal) == (inner.device, f"tap{inner.id[:11]}", False)


def test_the_linux_bridge_agent_makes_its_bridges_itself() -> None:
    inner = port("net", "10.0.0.1/24")
    (link,) = load_driver("linuxbridge").port(OWNER, inner)
    assert isinstance(link, Link)
    assert (link.tap, link.bridge) == (f"tap{inner.id[:11]}", None)
    assert [type(one) for one in load_driver("bridge").port(OWNER, inner)] == [Bridge, Link]
