# SPDX-License-Identifier: Apache-2.0
"""A desired state through the real data-plane process into a real kernel: no agent, no broker."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from l3agent.model.states import Report
from l3agent.testing import wait_until
from tests.support.kernel import golden, observed, rules
from tests.support.payloads import legacy_payload
from tests.support.processes import Dataplane
from tests.support.states import desired_namespace

GOLDEN = Path(__file__).parents[1] / "scenarios" / "legacy" / "kernel.json"
ROUTER = legacy_payload()["id"]
KEY = ("router", ROUTER)
NAMESPACE = f"qrouter-{ROUTER}"


def reconcile_legacy(dataplane: Dataplane) -> Report:
    (report,) = dataplane.reconcile((KEY, desired_namespace(legacy_payload())))
    assert report.error is None
    return report


def test_the_kernel_holds_what_the_state_says(dataplane: Dataplane) -> None:
    reconcile_legacy(dataplane)
    assert dataclasses.asdict(observed(dataplane.sandbox, NAMESPACE)) == dataclasses.asdict(golden(GOLDEN))


@pytest.mark.feature("router.random-ports")
def test_the_rules_translate_what_neutrons_rules_translate(dataplane: Dataplane) -> None:
    reconcile_legacy(dataplane)
    found = rules(dataplane.sandbox, NAMESPACE)
    assert found == {
        "prerouting": [
            "type nat hook prerouting priority dstnat; policy accept;",
            "dnat to ip daddr map @floating_dnat",
        ],
        "output": [
            "type nat hook output priority -100; policy accept;",
            "dnat to ip daddr map @floating_dnat",
        ],
        "postrouting": [
            "type nat hook postrouting priority srcnat; policy accept;",
            "oifname != @external ct status ! dnat accept",
            "snat to ip saddr map @floating_snat fully-random",
            "snat to oifname map @gateway_snat fully-random",
            "ct status dnat snat to iifname map @hairpin_snat fully-random",
        ],
        "guard": [
            "type filter hook postrouting priority srcnat + 1; policy accept;",
            "ip daddr 169.254.0.0/16 oifname @external drop",
            "ct status snat,dnat accept",
            "oifname @guarded ip saddr != @gateway_addresses drop",
        ],
    }


def test_the_same_state_again_changes_nothing(dataplane: Dataplane) -> None:
    assert reconcile_legacy(dataplane).operations
    assert reconcile_legacy(dataplane).operations == ()


def test_another_process_finds_nothing_to_change(dataplane: Dataplane) -> None:
    reconcile_legacy(dataplane)
    dataplane.kill()
    dataplane.start()
    assert reconcile_legacy(dataplane).operations == ()


def test_a_dry_run_names_the_operations_and_carries_none_out(dataplane: Dataplane) -> None:
    (report,) = dataplane.reconcile((KEY, desired_namespace(legacy_payload())), dry_run=True)
    assert report.operations
    assert dataplane.sandbox.namespaces() == set()


def test_removing_a_router_leaves_nothing_of_it(dataplane: Dataplane) -> None:
    before = {link["ifname"] for link in dataplane.sandbox.json("ip -j link")}
    reconcile_legacy(dataplane)
    (report,) = dataplane.reconcile((KEY, None))
    assert report.error is None
    assert dataplane.sandbox.namespaces() == set()
    wait_until(lambda: {link["ifname"] for link in dataplane.sandbox.json("ip -j link")} == before, timeout=10)
