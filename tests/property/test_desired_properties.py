# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from typing import Any

import msgpack
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from l3agent.exceptions import InvalidRouter, RouterNotCompatible, RouterNotWanted
from l3agent.model.desired import desired_state
from l3agent.model.states import RouterState
from l3agent.model.wire import pack_state, unpack_state
from tests.support.payloads import legacy_payload
from tests.support.states import only_namespace
from tests.support.strategies import damaged_payloads


@settings(max_examples=1000, suppress_health_check=[HealthCheck.too_slow])
@given(damaged_payloads())
def test_a_damaged_payload_gives_a_state_or_a_clear_refusal_and_nothing_else(payload: Any) -> None:
    try:
        state = desired_state(payload)
    except InvalidRouter as refusal:
        event("refused")
        assert refusal.path and refusal.path in str(refusal)
        # What is logged and shown must be text that can be written.
        str(refusal).encode()
    except (RouterNotCompatible, RouterNotWanted) as refusal:
        event("not for this agent")
        assert str(refusal)
    else:
        event("accepted")
        assert_sound(state)


def assert_sound(state: RouterState) -> None:
    """Check what the data plane relies on."""
    devices = {port.device for port in state.all_ports()}
    assert len(devices) == len(state.all_ports())
    assert all(len(device) <= 15 and "/" not in device for device in devices)
    addresses = [interface.ip for port in state.all_ports() for interface in port.addresses]
    assert len(addresses) == len(set(addresses))
    floating = {pair.floating for pair in state.floating_ips}
    assert len(floating) == len({pair.fixed for pair in state.floating_ips}) == len(state.floating_ips)
    assert floating.isdisjoint(addresses)
    assert len({route.destination for route in state.routes}) == len(state.routes)
    for route in state.routes:
        assert route.hops
        for hop in route.hops:
            assert hop.device in devices
            assert hop.via is None or (hop.via.version == route.destination.version and hop.via not in addresses)
    assert state.gateway is not None or not (state.floating_ips or state.snat or only_namespace(state).nat_address)
    for one in state.namespaces:
        assert unpack_state(msgpack.unpackb(msgpack.packb(pack_state(one.key, one)))) == (one.key, one)


@given(st.randoms(use_true_random=False))
def test_the_order_of_ports_and_floating_ips_does_not_matter(shuffler: random.Random) -> None:
    payload = legacy_payload()
    for key in ("_interfaces", "_floatingips", "routes"):
        shuffler.shuffle(payload[key])
    assert desired_state(payload) == desired_state(legacy_payload())
