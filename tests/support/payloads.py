# SPDX-License-Identifier: Apache-2.0
"""Payloads as the server sends them: one captured from a real server, and small ones built here."""

from __future__ import annotations

import copy
import functools
import json
from pathlib import Path
from typing import Any

_LEGACY = Path(__file__).parents[1] / "scenarios" / "legacy" / "payload.json"

#: Port id of the gateway that :func:`a_gateway` makes.
GATEWAY = "b0000000-0000-4000-8000-000000000000"


def legacy_payload() -> dict[str, Any]:
    """Return a copy of the router that real server code (Neutron 29.0.0) sent: two stacks, a floating IP, SNAT."""
    return copy.deepcopy(_captured())


@functools.cache
def _captured() -> dict[str, Any]:
    (router,) = json.loads(_LEGACY.read_text())
    return dict(router)


def a_router(**overrides: Any) -> dict[str, Any]:
    """Return a router with one internal port, 10.0.0.1/24, and a gateway, 203.0.113.10/24 via 203.0.113.1."""
    router = {
        "id": "c0000000-0000-4000-8000-000000000000",
        "name": "r1",
        "admin_state_up": True,
        "ha": False,
        "distributed": False,
        "gw_port": a_gateway(),
        "_interfaces": [a_port()],
        "_floatingips": [],
        "routes": [],
    }
    return router | overrides


def a_port(number: int = 1, **overrides: Any) -> dict[str, Any]:
    """Return an internal port; ``number`` makes its ids its own."""
    port = {
        "id": f"a{number:07x}-0000-4000-8000-000000000000",
        "network_id": a_network(number),
        "mac_address": f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
        "mtu": 1500,
        "admin_state_up": True,
        "device_owner": "network:router_interface",
        "fixed_ips": [a_fixed_ip("10.0.0.1", 24)],
        "subnets": [],
        "extra_subnets": [],
    }
    return port | overrides


def a_gateway(**overrides: Any) -> dict[str, Any]:
    """Return a gateway port on the external network."""
    gateway = {
        "id": GATEWAY,
        "network_id": "ee000000-0000-4000-8000-000000000000",
        "mac_address": "fa:16:3e:ff:00:01",
        "device_owner": "network:router_gateway",
        "fixed_ips": [a_fixed_ip("203.0.113.10", 24)],
        "subnets": [a_subnet("203.0.113.0/24", gateway_ip="203.0.113.1")],
    }
    return a_port() | gateway | overrides


def a_network(number: int = 1) -> str:
    """Return the id of a tenant network."""
    return f"d{number:07x}-0000-4000-8000-000000000000"


def a_fixed_ip(address: str, prefixlen: int) -> dict[str, Any]:
    """Return an address of a port."""
    return {"ip_address": address, "prefixlen": prefixlen, "subnet_id": f"subnet of {address}"}


def a_subnet(cidr: str, gateway_ip: str | None = None) -> dict[str, Any]:
    """Return a subnet as it stands in a port."""
    return {"id": f"subnet {cidr}", "cidr": cidr, "gateway_ip": gateway_ip}


def a_floating_ip(floating: str | None, fixed: str | None) -> dict[str, Any]:
    """Return a floating IP."""
    return {
        "id": f"floating {floating}",
        "floating_ip_address": floating,
        "fixed_ip_address": fixed,
        "status": "DOWN",
    }
