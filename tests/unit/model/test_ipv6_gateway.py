# SPDX-License-Identifier: Apache-2.0
"""Option ``ipv6_gateway``: the IPv6 next hop where the external network has none."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from l3agent.cmd.startup import load_config
from l3agent.exceptions import ConfigError
from l3agent.model.desired import desired_state
from tests.support.payloads import a_fixed_ip, a_gateway, a_router, a_subnet

NEIGHBOUR = IPv6Address("fe80::1")


def default_of(gateway: dict[str, Any] | None, via: IPv6Address | None = NEIGHBOUR) -> set[str]:
    state = desired_state(a_router(gw_port=gateway), ipv6_gateway=via)
    return {str(hop.via) for route in state.routes if route.destination == ip_network("::/0") for hop in route.hops}


def dual_stack(gateway_ip: str | None) -> dict[str, Any]:
    return a_gateway(
        fixed_ips=[a_fixed_ip("203.0.113.10", 24), a_fixed_ip("2001:db8::10", 64)],
        subnets=[a_subnet("203.0.113.0/24", "203.0.113.1"), a_subnet("2001:db8::/64", gateway_ip)],
    )


def test_it_stands_in_where_no_subnet_has_an_ipv6_gateway() -> None:
    assert default_of(a_gateway()) == {"fe80::1"}
    assert default_of(dual_stack(None)) == {"fe80::1"}


def test_the_gateway_of_a_subnet_goes_before_it() -> None:
    assert default_of(dual_stack("2001:db8::1")) == {"2001:db8::1"}


def test_without_it_or_without_ipv6_on_the_port_there_is_no_default_route() -> None:
    assert default_of(a_gateway(), None) == set()
    assert default_of(None) == set()
    assert default_of(a_gateway(mtu=1000)) == set()


def test_one_that_is_not_link_local_is_reached_on_link() -> None:
    state = desired_state(a_router(), ipv6_gateway=IPv6Address("2001:db8:f::1"))
    assert ip_network("2001:db8:f::1/128") in {route.destination for route in state.routes}


@pytest.mark.parametrize("text", ["192.0.2.1", "ff02::1", "fe80::1%eth0", "router", "::", "::1", "::ffff:10.0.0.1"])
def test_what_cannot_be_a_next_hop_is_refused_at_start(tmp_path: Path, text: str) -> None:
    path = tmp_path / "l3_agent.ini"
    path.write_text(f"[DEFAULT]\nipv6_gateway = {text}\n")
    with pytest.raises(ConfigError, match="ipv6_gateway"):
        load_config(["--config-file", str(path)], prog="l3-agent")


def test_the_empty_value_of_neutrons_files_means_none(tmp_path: Path) -> None:
    path = tmp_path / "l3_agent.ini"
    path.write_text("[DEFAULT]\nipv6_gateway =\n")
    assert load_config(["--config-file", str(path)], prog="l3-agent").ipv6_gateway == ""
