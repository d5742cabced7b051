# SPDX-License-Identifier: Apache-2.0
"""A namespace without IPv6: IPv4 is served, IPv6 is left out, and is configured as soon as it is enabled."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from l3agent.model.states import NamespaceState
from l3agent.testing import wait_until
from tests.support.processes import Dataplane
from tests.support.states import floating_ips, key, namespace, new_id, port, route, router


def test_a_router_without_ipv6_addresses_is_served_without_a_line_about_missing_ones(machine: Dataplane) -> None:
    state = router(port(new_id(), "10.0.0.1/24"), gateway=port(new_id(), "203.0.113.10/24", gateway=True))
    _disable_ipv6_before(machine, state)
    assert _build(machine, state) != ()
    assert _build(machine, state) == ()
    assert "not configured" not in _log_of(machine, state)
    assert _addresses(machine, state) == {"10.0.0.1", "203.0.113.10"}


@pytest.mark.feature("router.without-ipv6")
def test_ipv4_of_a_router_with_both_families_works_and_ipv6_follows_when_it_is_enabled(machine: Dataplane) -> None:
    inner = port(new_id(), "10.0.0.1/24", "2001:db8:1::1/64")
    gateway = port(new_id(), "203.0.113.10/24", "2001:db8::10/64", gateway=True)
    routes = [route("0.0.0.0/0", (gateway, "203.0.113.1")), route("::/0", (gateway, "2001:db8::1"))]
    state = router(inner, gateway=gateway, routes=routes)
    _disable_ipv6_before(machine, state)
    assert not [line for line in _build(machine, state) if "2001:db8" in line]
    assert _build(machine, state) == ()
    more = replace(state, floating_ips=floating_ips({"203.0.113.20": "10.0.0.5"}))
    _build(machine, more)
    other = port(new_id(), "10.1.0.1/24", "2001:db8:2::1/64")
    most = replace(more, ports=more.ports | {other})
    _build(machine, most)
    ipv4 = {"10.0.0.1", "10.1.0.1", "203.0.113.10", "203.0.113.20"}
    assert _addresses(machine, most) == ipv4
    assert _log_of(machine, state).count("IPv6 addresses and routes are not configured") == 1
    _set_ipv6(machine, state, enabled=True)
    ipv6 = {"2001:db8:1::1", "2001:db8:2::1", "2001:db8::10"}
    wait_until(lambda: _addresses(machine, most) == ipv4 | ipv6, timeout=30)
    wait_until(lambda: _has_default_route(machine, most), timeout=30)
    assert _build(machine, most) == ()
    # It is switched off at run time.
    _set_ipv6(machine, state, enabled=False)
    wait_until(lambda: _log_of(machine, state).count("IPv6 addresses and routes are not configured") == 2, timeout=30)
    assert _build(machine, most) == ()
    assert _addresses(machine, most) == ipv4
    assert "cannot be repaired" not in _log_of(machine, state)


def _disable_ipv6_before(machine: Dataplane, state: NamespaceState) -> None:
    """Create the namespace like one of a node where new namespaces have IPv6 disabled."""
    machine.sandbox.run(["ip", "netns", "add", namespace(state)])
    _set_ipv6(machine, state, enabled=False)


def _set_ipv6(machine: Dataplane, state: NamespaceState, *, enabled: bool) -> None:
    settings = [f"net.ipv6.conf.{place}.disable_ipv6={int(not enabled)}" for place in ("default", "all")]
    machine.sandbox.run(["sysctl", "-qw", *settings], netns=namespace(state))


def _build(machine: Dataplane, state: NamespaceState) -> tuple[str, ...]:
    (report,) = machine.reconcile((key(state), state))
    assert report.error is None
    return report.operations


def _addresses(machine: Dataplane, state: NamespaceState) -> set[str]:
    """Return the addresses of a router but the link-local ones."""
    links: list[dict[str, Any]] = machine.sandbox.json("ip -j address", netns=namespace(state))
    found = (one for link in links if link.get("ifname") != "lo" for one in link.get("addr_info", ()))
    return {one["local"] for one in found if one["scope"] == "global"}


def _has_default_route(machine: Dataplane, state: NamespaceState) -> bool:
    return bool(machine.sandbox.json("ip -6 -j route show default", netns=namespace(state)))


def _log_of(machine: Dataplane, state: NamespaceState) -> str:
    return "\n".join(line for line in machine.log.read_text().splitlines() if state.id in line)
