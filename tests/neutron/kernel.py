# SPDX-License-Identifier: Apache-2.0
"""Routers as the API says they are, and as the kernel has them; the two must be equal, whichever agent made them."""

from __future__ import annotations

import ipaddress
import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.neutron.rest import Rest
from tests.support.sandbox import Sandbox, SandboxError

_GATEWAY = "network:router_gateway"
_INTERFACE = "network:router_interface"
_PREFIX = {_GATEWAY: "qg-", _INTERFACE: "qr-"}
# One look at a namespace: a process for each question would be most of the work.
_LOOK = "ip -j addr; ip -j route show table main; nft -j list table ip l3agent 2> /dev/null || iptables-save -t nat"
_DNAT = re.compile(r"-A neutron-l3-agent-PREROUTING -d (\S+)/32 .*-j DNAT --to-destination (\S+)")


@dataclass
class Router:
    """A router; equality is meaning.

    :param links: device -> (MAC address, MTU).
    :param addresses: (device, address with prefix length); the kernel's own and those of floating IPs left out.
    :param default: next hops of the IPv4 default route.
    :param routes: destination -> next hop of the user's own routes.
    :param floating: floating -> fixed address of what is translated.
    :param held: floating addresses that the gateway device answers for.
    """

    links: dict[str, tuple[str, int]] = field(default_factory=dict)
    addresses: set[tuple[str, str]] = field(default_factory=set)
    default: set[str] = field(default_factory=set)
    routes: dict[str, str] = field(default_factory=dict)
    floating: dict[str, str] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)


def in_api(rest: Rest) -> dict[str, Router]:
    """Return the routers that an agent should have, by id."""
    subnets = {subnet["id"]: subnet for subnet in rest.list("subnets")}
    mtus = {network["id"]: network["mtu"] for network in rest.list("networks")}
    routers = {router["id"]: _with_routes(router) for router in rest.list("routers") if router["admin_state_up"]}
    for port in rest.list("ports"):
        if port["device_owner"] in _PREFIX and port["device_id"] in routers:
            _add_port(routers[port["device_id"]], port, subnets, mtus[port["network_id"]])
    for floating_ip in rest.list("floatingips"):
        if floating_ip["router_id"] in routers:
            router = routers[floating_ip["router_id"]]
            router.floating[floating_ip["floating_ip_address"]] = floating_ip["fixed_ip_address"]
            router.held.add(floating_ip["floating_ip_address"])
    return routers


def in_kernel(sandbox: Sandbox) -> dict[str, Router]:
    """Return the routers that there are, by id."""
    spaces = [name for name in sandbox.namespaces() if name.startswith("qrouter-")]
    return {name.removeprefix("qrouter-"): router for name in spaces if (router := _seen(sandbox, name))}


def _with_routes(router: dict[str, Any]) -> Router:
    return Router(routes={route["destination"]: route["nexthop"] for route in router["routes"]})


def _add_port(router: Router, port: dict[str, Any], subnets: dict[str, Any], mtu: int) -> None:
    device = _PREFIX[port["device_owner"]] + port["id"][:11]
    router.links[device] = (port["mac_address"], mtu)
    for fixed in port["fixed_ips"]:
        subnet = subnets[fixed["subnet_id"]]
        router.addresses.add((device, f"{fixed['ip_address']}/{subnet['cidr'].partition('/')[2]}"))
        if port["device_owner"] == _GATEWAY and subnet["ip_version"] == 4 and subnet["gateway_ip"]:
            router.default.add(subnet["gateway_ip"])


def _seen(sandbox: Sandbox, namespace: str) -> Router | None:
    try:
        text = sandbox.run(["sh", "-c", _LOOK], netns=namespace)
    except SandboxError:
        # It went between the two looks.
        return None
    links, end = _decode(text)
    routes, end = _decode(text, end)
    router = Router(floating=_floating(text[end:].strip()))
    for link in links:
        if link["ifname"] != "lo":
            router.links[link["ifname"]] = (link["address"], link["mtu"])
            _add_addresses(router, link)
    for route in routes:
        _add_route(router, route)
    return router


def _decode(text: str, start: int = 0) -> tuple[Any, int]:
    start += len(text[start:]) - len(text[start:].lstrip())
    return json.JSONDecoder().raw_decode(text, start)


def _add_addresses(router: Router, link: dict[str, Any]) -> None:
    for info in link["addr_info"]:
        if ipaddress.ip_address(info["local"]).is_link_local:
            continue
        if info["prefixlen"] == 32 and link["ifname"].startswith("qg-"):
            router.held.add(info["local"])
        else:
            router.addresses.add((link["ifname"], f"{info['local']}/{info['prefixlen']}"))


def _add_route(router: Router, route: dict[str, Any]) -> None:
    if "gateway" not in route:
        return
    if route["dst"] == "default":
        router.default.add(route["gateway"])
    else:
        router.routes[route["dst"]] = route["gateway"]


def _floating(rules: str) -> dict[str, str]:
    """Return what is translated, from the maps of ours or from the rules of Neutron's agent."""
    if not rules.startswith("{"):
        return dict(_DNAT.findall(rules))
    for entry in json.loads(rules)["nftables"]:
        if entry.get("map", {}).get("name") == "floating_dnat":
            return dict(entry["map"].get("elem", []))
    return {}
