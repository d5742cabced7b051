# SPDX-License-Identifier: Apache-2.0
"""From the payload of a router, as the server sends it, to the state that should exist. Pure; all validation is here.

Each failure is as local as it can be: an address, a port, a floating IP or a route that cannot be served is skipped and
named in the warnings of the state, and the rest of the router is served. Only what makes the router as a whole
meaningless (its id, its kind, its admin state, the list of its ports) rejects it, with :class:`InvalidRouter`.

Where Neutron's agent leaves a choice to the order of its commands, the outcome here is the same by rule:

* several subnets of one family on the gateway port: the last one with a gateway has the default route, because each
  default route replaces the one before;
* an extra route to everything (``0.0.0.0/0``, ``::/0``) replaces the default route of the gateway;
* the admin state of the gateway port is ignored, that of an internal port counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import Any

from l3agent.exceptions import InvalidRouter, RouterNotCompatible, RouterNotWanted
from l3agent.model import desired_floating_ips
from l3agent.model.desired_floating_ips import floating_ips
from l3agent.model.desired_ports import usable_ports
from l3agent.model.desired_routes import routes
from l3agent.model.payload import Node, skipped
from l3agent.model.states import FloatingIP, RouterState
from l3agent.model.unserved import unserved_features


def desired_state(
    payload: Mapping[str, Any],
    *,
    handle_internal_only_routers: bool = True,
    ipv6_gateway: IPv6Address | None = None,
    metadata_proxy: bool = False,
) -> RouterState:
    """Return the state that a router should have.

    :param payload: one element of the server's answer to ``sync_routers``; unknown keys are ignored.
    :param handle_internal_only_routers: serve routers without a gateway too.
    :param ipv6_gateway: IPv6 next hop where no subnet of the external network names one; often link-local.
    :param metadata_proxy: whether the configuration asks for a metadata proxy, which this agent does not serve.
    :raises InvalidRouter: a value makes the whole router meaningless; the error names its path.
    :raises RouterNotCompatible: the router is of a kind that this agent does not serve.
    :raises RouterNotWanted: the router is administratively down, or internal only where those are left out.
    """
    router = Node("", payload)
    router_id = router["id"].identifier()
    _refuse_what_is_not_served(router, handle_internal_only_routers)
    warnings: list[str] = []
    gateway, internal = usable_ports(router, warnings)
    served = [*internal, *([gateway] if gateway else ())]
    own = frozenset(interface.ip for one in served for interface in one.port.addresses)
    floating = floating_ips(router, has_gateway=gateway is not None, own=own, warnings=warnings)
    taken = own | {pair.floating for pair in floating.served}
    external = gateway.port if gateway else None
    found = routes(router, [one.port for one in served], external, taken, ipv6_gateway, warnings)
    features = unserved_features(router, gateway, internal, metadata_proxy=metadata_proxy)
    nat_address = gateway.nat_address if gateway else None
    return RouterState(
        id=router_id,
        ports=frozenset(one.port for one in internal),
        gateway=external,
        routes=found,
        floating_ips=floating.served,
        nat_address=nat_address,
        snat=_snat_enabled(router, warnings) and nat_address is not None,
        warnings=tuple(sorted({*warnings, *features.values()})),
        unserved_features=frozenset(features),
        unserved_floating_ips=floating.unserved,
    )


def named_floating_ips(payload: Mapping[str, Any]) -> dict[str, FloatingIP]:
    """Return by id the floating IPs of a payload that can be read, whatever else of it may be wrong.

    :raises InvalidRouter: it has no list of them.
    """
    return desired_floating_ips.named_floating_ips(Node("", payload))


def _refuse_what_is_not_served(router: Node, handle_internal_only_routers: bool) -> None:
    for kind in ("ha", "distributed"):
        if router[kind].flag(False):
            raise RouterNotCompatible(f"{kind}: true: this agent serves neither HA nor distributed routers")
    if not router["admin_state_up"].flag(True):
        raise RouterNotWanted("admin_state_up: false: the router is administratively down")
    if not router["gw_port"].given() and not handle_internal_only_routers:
        raise RouterNotWanted("gw_port: none, and handle_internal_only_routers is off")


def _snat_enabled(router: Node, warnings: list[str]) -> bool:
    """Return whether SNAT is on, which it is where no usable value says otherwise."""
    info = router["external_gateway_info"]
    try:
        return router["enable_snat"].flag(info["enable_snat"].flag(True) if info.given() else True)
    except InvalidRouter as error:
        warnings.append(skipped("enable_snat", router, error))
        return True
