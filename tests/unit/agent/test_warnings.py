# SPDX-License-Identifier: Apache-2.0
"""Skipped and unserved parts of a router: logged once per change, shown, and reported to the server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.agent.router_events import PayloadReceived, RequestFailed, RequestSucceeded, StateRestored
from l3agent.agent.router_transition import transition
from l3agent.cli.router_view import router_lines
from l3agent.cli.status_view import status_lines
from l3agent.cli.terminal import Screen
from l3agent.exceptions import ApplyError
from l3agent.model.desired import desired_state
from l3agent.model.states import Report
from l3agent.ops.guru_report import summary
from l3agent.ops.status import count_routers_with_skipped_parts, count_unserved_features, show, status
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import MakeAgent, OpenAgent, ServiceOf, as_client, router_state
from tests.support.payloads import a_floating_ip, a_port, a_router

R1 = "cffffff1-0000-4000-8000-000000000000"
GOOD, TWIN = a_floating_ip("203.0.113.100", "10.0.0.5"), a_floating_ip("203.0.113.101", "10.0.0.5")
FORWARDING = [{"floating_ip_address": "203.0.113.135"}]


def update(agent: OpenAgent, plugin: FakePlugin, **changes: Any) -> None:
    """Process the router once more, without other updates."""
    wait_until(lambda: agent.full_sync.in_sync and not any(agent.queue.counts().values()))
    plugin.routers = {R1: a_router(id=R1, **changes)}
    before = agent.router_info[R1].updates if R1 in agent.router_info else 0
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in agent.router_info and agent.router_info[R1].updates > before)


def test_skipped_floating_ips_are_error_and_the_others_active(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    update(agent, plugin, _floatingips=[TWIN, GOOD])
    wait_until(lambda: plugin.fip_statuses == {GOOD["id"]: "ACTIVE", TWIN["id"]: "ERROR"})
    assert agent.router_info[R1].status == "active"
    assert len(router_state(dataplane, R1).floating_ips) == 1
    # It is reported once; the payload has the status in the server.
    reports = len(plugin.called("update_floatingip_statuses"))
    update(agent, plugin, _floatingips=[GOOD | {"status": "ACTIVE"}, TWIN | {"status": "ERROR"}])
    update(agent, plugin, _floatingips=[TWIN | {"status": "ERROR"}])
    wait_until(lambda: plugin.fip_statuses[TWIN["id"]] == "ACTIVE")
    assert plugin.called("update_floatingip_statuses")[reports]["fip_statuses"][TWIN["id"]] == "ACTIVE"


def test_a_router_without_a_usable_gateway_has_its_floating_ips_in_error(agent: OpenAgent, plugin: FakePlugin) -> None:
    update(agent, plugin, gw_port="nonsense", _floatingips=[GOOD])
    wait_until(lambda: plugin.fip_statuses == {GOOD["id"]: "ERROR"})


def test_statuses_restored_at_start_are_not_reported_again() -> None:
    payload = a_router(id=R1, _floatingips=[GOOD, TWIN])
    info = transition(R1, None, StateRestored(payload, desired_state(payload))).info
    assert transition(R1, info, RequestSucceeded(Report("router", R1), False, {}, 1.0)).statuses is None
    assert transition(R1, info, RequestFailed(ApplyError("busy"), False, 1.0)).statuses == {GOOD["id"]: "ERROR"}


def test_an_error_that_crosses_the_next_payload_is_replaced_by_active() -> None:
    payload = a_router(id=R1, _floatingips=[GOOD | {"status": "ACTIVE"}])
    received = PayloadReceived(payload, desired_state(payload), 1, 0.0, 1.0)
    failed = transition(R1, transition(R1, None, received).info, RequestFailed(ApplyError("busy"), False, 1.0))
    assert failed.statuses == {GOOD["id"]: "ERROR"}
    # The server has sent the status from before our report.
    again = transition(R1, failed.info, received)
    done = transition(R1, again.info, RequestSucceeded(Report("router", R1), False, {}, 2.0))
    assert done.statuses == {GOOD["id"]: "ACTIVE"}


def test_elements_without_id_are_of_no_consequence_to_the_statuses() -> None:
    payload = a_router(id=R1, _floatingips=[None, 7, {"id": [1], "fixed_ip_address": "10.0.0.9"}, GOOD])
    state = desired_state(payload)
    without = replace(state, namespaces=(replace(state.namespaces[0], floating_ips=frozenset()),))
    info = transition(R1, None, PayloadReceived(payload, state, 1, 0.0, 1.0)).info
    change = transition(R1, info, RequestSucceeded(Report("router", R1), False, {}, 1.0))
    assert change.statuses == {GOOD["id"]: "ACTIVE"}
    nonsense = payload | {"_floatingips": 7}
    change = transition(R1, change.info, PayloadReceived(nonsense, without, 2, 0.0, 2.0))
    assert change.info is not None and change.info.floating_ips == {}


@pytest.mark.feature("operation.unserved-features")
def test_a_warning_is_logged_once_per_change(
    agent: OpenAgent, plugin: FakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    def logged(words: str) -> int:
        return sum(words in record.getMessage() for record in caplog.records if record.levelname == "WARNING")

    forwarding = {"_pf_floatingips": FORWARDING, "_floatingips": [GOOD, TWIN]}
    for _ in range(3):
        update(agent, plugin, **forwarding)
    words = ("port forwarding is not served: 203.0.113.135", "metadata is not served", "floating IP 203.0.113.101")
    assert [logged(one) for one in words] == [1, 1, 1]
    update(agent, plugin, _floatingips=[GOOD])
    update(agent, plugin, **forwarding)
    assert [logged(one) for one in words] == [2, 1, 2]
    # The order in which the server lists things is no change.
    update(agent, plugin, _pf_floatingips=FORWARDING, _floatingips=[TWIN, GOOD])
    assert [logged(one) for one in words] == [2, 1, 2]


def test_of_very_many_new_warnings_the_first_are_logged(
    agent: OpenAgent, plugin: FakePlugin, caplog: pytest.LogCaptureFixture
) -> None:
    many = [a_floating_ip(f"203.0.113.{n}", "10.0.0.5") for n in range(100, 200)]
    update(agent, plugin, _floatingips=many)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith(f"router {R1}: ")]
    assert len([line for line in lines if "skipped" in line]) <= 20
    assert any("80 more warnings" in line for line in lines)


@pytest.mark.feature("operation.unserved-features")
def test_warnings_are_in_status_show_and_report(agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane) -> None:
    update(agent, plugin, _pf_floatingips=FORWARDING, _interfaces=[a_port(1), a_port(2, mac_address="nonsense")])
    entry = json.loads(json.dumps(status(agent.view, as_client(dataplane))))
    router = entry["routers"][R1]
    assert router["unserved_features"] == ["metadata", "port_forwarding"] and router["warning_count"] == 3
    assert {name for name, count in entry["unserved_features"].items() if count} == {"metadata", "port_forwarding"}
    lines = list(status_lines(entry, Screen()))
    assert "not served  metadata (1 routers), port_forwarding (1 routers)" in lines
    assert lines[-1].endswith(f"(3) {router['warnings'][0]}") and "WARNINGS" in lines[-2]
    shown = list(
        router_lines(
            {**show(agent.view, as_client(dataplane), R1), "processes": {"found": [], "complete": True}}, Screen()
        )
    )
    for words in ("metadata is not served", "port forwarding is not served", "mac_address: 'nonsense'"):
        assert any(line.startswith("warning: ") and words in line for line in shown)
    assert len(summary(agent.view, as_client(dataplane))["warnings"][f"{R1} r1"]) == 3
    assert count_unserved_features(agent.view)["qos"] == 0 and count_routers_with_skipped_parts(agent.view) == 1


def test_with_the_metadata_proxy_off_no_router_asks_for_metadata(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, conf: cfg.ConfigOpts
) -> None:
    conf.set_override("enable_metadata_proxy", False)
    agent = make_agent()
    with running(plugin, service_of(agent)):
        update(agent, plugin)
        state = agent.router_info[R1].state
        assert state is not None and state.warnings == ()
