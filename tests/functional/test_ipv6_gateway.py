# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import IPv6Address

from l3agent.model.desired import desired_state
from tests.functional.support.processes import Dataplane
from tests.payloads import a_router


def test_the_ipv6_gateway_of_the_options_is_the_default_route_in_the_kernel(dataplane: Dataplane) -> None:
    router = a_router()
    state = desired_state(router, ipv6_gateway=IPv6Address("fe80::1"))
    for expected in (True, False):
        (report,) = dataplane.reconcile((("router", router["id"]), state))
        assert report.error is None
        assert bool(report.operations) is expected
    (route,) = dataplane.sandbox.json("ip -j -6 route show default", netns=f"qrouter-{router['id']}")
    assert (route["gateway"], route["dev"]) == ("fe80::1", "qg-b0000000-00")
