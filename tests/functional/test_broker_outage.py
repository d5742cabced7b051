# SPDX-License-Identifier: Apache-2.0
"""The broker goes and comes back. Its queues are transient: what was cast meanwhile is lost, and nobody says so."""

from __future__ import annotations

import os
import re
import time

import eventlet
import pytest

from l3agent.testing import wait_until
from tests.support.cloud import ROUTER, Cloud, assert_same
from tests.support.kernel import RouterFacts
from tests.support.payloads import a_gateway, a_router, legacy_payload
from tests.support.rabbit import Rabbit

#: Seconds from the moment the broker answers again. Both ends try once a second. A server that waited more than 60 s to
#: deliver an answer drops all answers to that queue for another 60 s (oslo.messaging), while calls wait 10, 20, 40 s.
BACK_WITHIN = 100


@pytest.mark.feature("process.heartbeat")
@pytest.mark.parametrize("outage", [2, 30, 90])
def test_the_agent_is_back_by_itself_and_misses_nothing(
    cloud: Cloud, rabbit: Rabbit, expected: RouterFacts, outage: float
) -> None:
    pid = cloud.agent.pid
    down_since = time.monotonic()
    logged_before = cloud.agent.log.stat().st_size
    rabbit.stop()
    # What users do meanwhile; no cast gets through.
    new = a_router(gw_port=a_gateway(fixed_ips=[{"ip_address": "203.0.113.54", "prefixlen": 24, "subnet_id": "s"}]))
    cloud.server.put(legacy_payload() | {"enable_snat": False}, cast=False)
    cloud.server.put(new, cast=False)
    assert_same(cloud.facts(), expected)
    eventlet.sleep(max(0, outage - (time.monotonic() - down_since)))
    lines = logged(cloud, logged_before)
    # Each cause has one line at once, one after 10 s and one every 120 s. Without a limit they are two a second.
    assert len(lines) <= 30, lines
    rabbit.start()

    expected.snat_out.clear()
    wait_until(lambda: without_snat(cloud), timeout=BACK_WITHIN)
    wait_until(lambda: f"qrouter-{new['id']}" in cloud.sandbox.namespaces(), timeout=BACK_WITHIN)
    assert_same(cloud.facts(), expected)
    assert cloud.agent.pid == pid and os.path.exists(f"/proc/{pid}")

    # Casts arrive again, without the help of a full sync.
    cloud.put(legacy_payload())
    expected.snat_out["qg-bb04a719-1a"] = "203.0.113.53"
    assert_same(cloud.facts(), expected)


def logged(cloud: Cloud, offset: int) -> list[str]:
    """Return the lines of the agent's log from an offset, without those of level DEBUG."""
    text = cloud.agent.log.read_bytes()[offset:].decode(errors="replace")
    return [line for line in text.splitlines() if re.search(r" (INFO|WARNING|ERROR|CRITICAL) ", line[:50])]


def without_snat(cloud: Cloud) -> bool:
    """Tell whether SNAT is off; in the middle of that its flows are still to be dropped."""
    try:
        return cloud.facts().snat_out == {}
    except AssertionError:
        return False


def test_a_router_deleted_during_an_outage_goes_when_the_broker_is_back(cloud: Cloud, rabbit: Rabbit) -> None:
    rabbit.kill()
    cloud.server.delete(ROUTER, cast=False)
    cloud.server.put(a_router(), cast=False)
    rabbit.start()
    wait_until(lambda: cloud.sandbox.namespaces() == {f"qrouter-{a_router()['id']}"}, timeout=BACK_WITHIN)


def test_an_agent_that_starts_without_a_broker_waits_for_it(
    cloud: Cloud, rabbit: Rabbit, expected: RouterFacts
) -> None:
    cloud.agent.kill()
    rabbit.kill()
    cloud.server.put(legacy_payload() | {"enable_snat": False}, cast=False)
    cloud.agent.start()
    wait_until(lambda: cloud.agent.status().get("dataplane", {}).get("connected"), timeout=20)
    assert_same(cloud.facts(), expected)
    rabbit.start()
    cloud.agent.wait_in_sync(timeout=BACK_WITHIN)
    expected.snat_out.clear()
    assert_same(cloud.facts(), expected)
