# SPDX-License-Identifier: Apache-2.0
"""The shortest proof under a real neutron-server, for every run of CI (``tox -e neutron-short``)."""

from __future__ import annotations

import pytest

from tests.neutron.bed import Bed
from tests.neutron.cloud import Cloud, Member
from tests.neutron.expect import wait_equal, wait_status
from tests.neutron.kernel import in_kernel
from tests.neutron.l3_agents import L3Agent

pytestmark = pytest.mark.neutron


@pytest.mark.feature("router.life")
def test_a_router_is_built_has_a_floating_ip_and_goes(bed: Bed, agent: L3Agent, cloud: Cloud, external: Member) -> None:
    subnet = cloud.subnet()
    router = cloud.router(external, subnet)
    floating_ip = cloud.floating_ip(external, cloud.port(subnet))
    wait_equal(bed)
    seen = in_kernel(bed.sandbox)[router["id"]]
    assert len(seen.links) == 2 and len(seen.floating) == 1 and seen.default
    wait_status(bed, floating_ip, "ACTIVE")
    cloud.clear_floating_ips()
    wait_equal(bed)
    cloud.clear_router(bed.rest.get("routers", router["id"]))
    wait_equal(bed)
    assert in_kernel(bed.sandbox) == {}
