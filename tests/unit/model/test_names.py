# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from l3agent.model.names import (
    BRIDGE_DEVICE,
    DEVICE_PREFIXES,
    EXTERNAL_DEVICES,
    GATEWAY_DEVICE,
    INTERNAL_DEVICE,
    INTERNAL_DEVICES,
    NAMESPACES,
    ROUTER_KINDS,
    TAP_DEVICE,
    device_name,
    is_router_namespace,
    namespace_name,
    parse_namespace,
)

ID = "03dbf1c2-f799-4cb3-bbac-6a264f0e0375"


@pytest.mark.parametrize("prefix", [INTERNAL_DEVICE, GATEWAY_DEVICE, TAP_DEVICE, BRIDGE_DEVICE])
def test_device_names_are_a_prefix_and_eleven_characters_and_fit_the_kernel(prefix: str) -> None:
    assert device_name(prefix, ID) == prefix + "03dbf1c2-f7"
    assert len(device_name(prefix, ID)) <= 15


def test_the_namespace_of_a_router_is_named_as_neutron_names_it() -> None:
    assert namespace_name("router", ID) == f"qrouter-{ID}"


def test_the_namespace_of_a_host_cannot_be_taken_for_a_router() -> None:
    assert namespace_name("host", "vm1") == "l3host-vm1"


def test_the_name_of_a_namespace_gives_its_key() -> None:
    for kind in NAMESPACES:
        assert parse_namespace(namespace_name(kind, ID)) == (kind, ID)
        assert is_router_namespace(namespace_name(kind, ID)) == (kind in ROUTER_KINDS)
    for other in ("qdhcp-x", "router-x", "", "x-qrouter-x"):
        assert parse_namespace(other) is None and not is_router_namespace(other)
    with pytest.raises(ValueError, match="no namespace"):
        namespace_name("network", ID)


def test_no_prefix_of_a_namespace_begins_another() -> None:
    prefixes = [names.prefix for names in NAMESPACES.values()]
    assert not any(one is not other and one.startswith(other) for one in prefixes for other in prefixes)


def test_devices_of_routers_and_hosts_are_told_apart_by_their_names() -> None:
    assert (INTERNAL_DEVICES, EXTERNAL_DEVICES) == ((INTERNAL_DEVICE,), (GATEWAY_DEVICE,))
    assert set(DEVICE_PREFIXES) == {*INTERNAL_DEVICES, *EXTERNAL_DEVICES, NAMESPACES["host"].internal}
