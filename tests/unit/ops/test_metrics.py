# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from l3agent.exceptions import ApplyError, DataplaneUnavailable
from l3agent.ops.metrics import PHASES
from l3agent.testing import wait_until
from tests.support.payloads import a_router
from tests.unit.ops.conftest import Site

R1 = "cffffff1-0000-4000-8000-000000000000"

#: Names, kinds and labels on which dashboards depend.
TABLE = {
    "l3agent_build_info": ("gauge", {"version", "eventlet"}),
    "l3agent_routers": ("gauge", {"status"}),
    "l3agent_unserved_feature_routers": ("gauge", {"feature"}),
    "l3agent_routers_with_skipped_parts": ("gauge", set()),
    "l3agent_router_updates_total": ("counter", {"action", "result"}),
    "l3agent_router_update_seconds": ("histogram", {"phase"}),
    "l3agent_queue_depth": ("gauge", {"priority"}),
    "l3agent_queue_oldest_seconds": ("gauge", set()),
    "l3agent_workers": ("gauge", set()),
    "l3agent_workers_busy": ("gauge", set()),
    "l3agent_dataplane_info": ("gauge", {"version", "cause"}),
    "l3agent_kernel_batches_total": ("counter", {"tool", "result"}),
    "l3agent_kernel_operations_total": ("counter", {"kind"}),
    "l3agent_drift_repair_operations_total": ("counter", set()),
    "l3agent_full_sync_seconds": ("histogram", {"result"}),
    "l3agent_full_sync_last_success_timestamp_seconds": ("gauge", set()),
    "l3agent_rpc_requests_total": ("counter", {"method", "direction", "result"}),
    "l3agent_eventlet_hub_lag_seconds": ("histogram", set()),
    "l3agent_config_last_reload_successful": ("gauge", set()),
}


def scraped(site: Site) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(site.get("/metrics").text)
        for sample in family.samples
    }


def value(site: Site, name: str, **labels: str) -> float:
    return scraped(site)[name, frozenset(labels.items())]


@pytest.mark.feature("operation.metrics")
def test_names_kinds_and_labels_are_those_of_the_table(site: Site) -> None:
    site.dataplane.stats = lambda timeout=1.0: {
        "batches": {"ip": {"ok": 3, "refused": 1}},
        "operations": {"add": 7},
        "repair_operations": 2,
        "limits": {"ports of a bridge": [5, 1023]},
    }
    site.update(a_router(id=R1))
    site.metrics.observe_hub_lag(0.01)
    answer = site.get("/metrics")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(answer.text)
    }
    for name, (kind, labels) in TABLE.items():
        family = families[name]
        assert family.type == kind, name
        assert family.documentation, name
        assert all(sample.labels.keys() - {"le"} == labels for sample in family.samples), name
        assert family.samples, name
    assert all(name.startswith(("l3agent_", "process_")) for name in families)
    assert "_created" not in answer.text


@pytest.mark.feature("operation.metrics")
def test_no_label_carries_an_id(site: Site) -> None:
    site.update(*(a_router(id=f"c000000{number}-0000-4000-8000-000000000000") for number in range(5)))
    text = site.get("/metrics").text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|node1|\br1\b", text)
    assert len(text.splitlines()) < 300


def test_updates_and_their_phases_are_counted(site: Site) -> None:
    before = value(site, "l3agent_router_update_seconds_count", phase="apply")
    site.update(a_router(id=R1))
    assert value(site, "l3agent_router_updates_total", action="update", result="ok") == 1
    for phase in PHASES:
        assert value(site, "l3agent_router_update_seconds_count", phase=phase) >= 1, phase
    assert value(site, "l3agent_router_update_seconds_count", phase="apply") == before + 1
    site.dataplane.fail_next(ApplyError("no"))
    site.agent.routers_updated(None, [R1])
    wait_until(lambda: value(site, "l3agent_router_updates_total", action="update", result="ok") == 2)
    assert value(site, "l3agent_router_updates_total", action="update", result="retry") == 1


def test_routers_queue_and_workers_are_as_they_are(site: Site) -> None:
    site.dataplane.delay = 3.0
    many = [a_router(id=f"c00000{number:02}-0000-4000-8000-000000000000") for number in range(20)]
    site.plugin.routers = {router["id"]: router for router in many}
    site.agent.routers_updated(None, [router["id"] for router in many])
    wait_until(lambda: len(site.agent.in_flight) == 8 and site.agent.router_info)
    assert value(site, "l3agent_workers_busy") == 8 == value(site, "l3agent_workers")
    assert value(site, "l3agent_queue_depth", priority="rpc") >= 1
    assert value(site, "l3agent_queue_depth", priority="full_sync") == 0
    assert value(site, "l3agent_queue_oldest_seconds") > 0
    assert value(site, "l3agent_workers_oldest_seconds") >= 0
    site.dataplane.delay = 0.0
    wait_until(lambda: value(site, "l3agent_routers", status="active") == 20, timeout=20)


@pytest.mark.feature("operation.unserved-features")
def test_routers_that_ask_for_what_is_not_served_are_counted_by_feature(site: Site) -> None:
    assert value(site, "l3agent_unserved_feature_routers", feature="port_forwarding") == 0
    forwarding = {"_pf_floatingips": [{"floating_ip_address": "203.0.113.135"}]}
    site.update(a_router(id=R1, **forwarding), a_router(id=R1[:-1] + "1", **forwarding, routes=[None]))
    assert value(site, "l3agent_unserved_feature_routers", feature="port_forwarding") == 2
    assert value(site, "l3agent_unserved_feature_routers", feature="metadata") == 2
    assert value(site, "l3agent_routers_with_skipped_parts") == 1


def test_full_syncs_are_timed(site: Site) -> None:
    assert value(site, "l3agent_full_sync_seconds_count", result="ok") == 1
    assert value(site, "l3agent_full_sync_last_success_timestamp_seconds") > 1.7e9


def test_messages_are_counted_in_both_directions(site: Site) -> None:
    site.plugin.cast_to_agents("routers_updated", routers=[])
    wait_until(
        lambda: (
            (
                "l3agent_rpc_requests_total",
                frozenset({"method": "routers_updated", "direction": "in", "result": "ok"}.items()),
            )
            in scraped(site)
        )
    )
    assert value(site, "l3agent_rpc_requests_total", method="get_router_ids", direction="out", result="ok") == 1


def test_repairs_of_unexpected_changes_are_counted_as_drift(site: Site) -> None:
    site.update(a_router(id=R1))
    assert value(site, "l3agent_drift_repair_operations_total") == 0
    site.dataplane.states.clear()
    site.agent.routers_updated(None, [R1])
    wait_until(lambda: value(site, "l3agent_drift_repair_operations_total") == 1)


def test_a_reload_that_failed_shows(site: Site) -> None:
    assert value(site, "l3agent_config_last_reload_successful") == 1
    site.reload_succeeded = False
    assert value(site, "l3agent_config_last_reload_successful") == 0


def test_without_the_data_plane_its_last_counters_are_exported(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("l3agent.ops.state_metrics._STATS_CACHE_S", 0.0)
    site.update(a_router(id=R1))
    assert value(site, "l3agent_kernel_operations_total", kind="add") == 1
    site.dataplane.fail_next(DataplaneUnavailable("gone"), operation="stats")
    assert value(site, "l3agent_kernel_operations_total", kind="add") == 1
