# SPDX-License-Identifier: Apache-2.0
"""A router with very many floating IPs does not stop the other greenthreads of the agent."""

from __future__ import annotations

from ipaddress import IPv4Address

import eventlet
import pytest

from tests.support.agents import MakeAgent
from tests.support.payloads import a_floating_ip, a_router

R1 = "cffffff1-0000-4000-8000-000000000000"


@pytest.mark.feature("dataplane.large-routers")
def test_computing_a_large_state_yields_to_the_hub(make_agent: MakeAgent) -> None:
    routers = make_agent().routers
    fip = a_floating_ip("203.0.113.1", "10.0.0.1")
    first, fixed = int(IPv4Address("198.18.0.0")), int(IPv4Address("10.0.0.0"))
    fips = [
        fip
        | {
            "id": f"{number:08x}-0000-4000-8000-000000000000",
            "floating_ip_address": str(IPv4Address(first + number)),
            "fixed_ip_address": str(IPv4Address(fixed + number)),
        }
        for number in range(1, 10_001)
    ]
    payload = a_router(id=R1, _floatingips=fips)
    computing = eventlet.spawn(routers.desired_state, R1, payload)
    beats = 0
    while not computing.dead:
        eventlet.sleep(0.001)
        beats += 1
    assert len(computing.wait().floating_ips) == 10_000
    # It takes 250 ms or more, and another greenthread runs every few of them.
    assert beats > 5
