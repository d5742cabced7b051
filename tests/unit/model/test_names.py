# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from l3agent.model.names import BRIDGE_DEVICE, GATEWAY_DEVICE, INTERNAL_DEVICE, TAP_DEVICE, device_name, namespace_name

ID = "03dbf1c2-f799-4cb3-bbac-6a264f0e0375"


@pytest.mark.parametrize("prefix", [INTERNAL_DEVICE, GATEWAY_DEVICE, TAP_DEVICE, BRIDGE_DEVICE])
def test_device_names_are_a_prefix_and_eleven_characters_and_fit_the_kernel(prefix: str) -> None:
    assert device_name(prefix, ID) == prefix + "03dbf1c2-f7"
    assert len(device_name(prefix, ID)) <= 15


def test_the_namespace_of_a_router_is_named_as_neutron_names_it() -> None:
    assert namespace_name("router", ID) == f"qrouter-{ID}"


def test_the_namespace_of_a_host_cannot_be_taken_for_a_router() -> None:
    assert namespace_name("host", "vm1") == "l3host-vm1"
