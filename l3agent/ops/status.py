# SPDX-License-Identifier: Apache-2.0
"""The status of the agent and its routers as plain values, ready for JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from l3agent import __version__
from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.router_info import RouterInfo
from l3agent.agent.view import AgentView
from l3agent.exceptions import ApplyError, L3AgentError
from l3agent.model.router_keys import keyed_states, merge_counters, merge_inspections, merge_reports
from l3agent.model.states import MAIN_TABLE, Report, RouterState
from l3agent.model.unserved import FEATURES

#: Operations of the last update shown per router; all operations of a thousand new routers would be 4 MB.
_SHOWN_OPERATIONS = 10
#: Warnings shown per router in the status; `show` returns all of them.
_SHOWN_WARNINGS = 10


def status(agent: AgentView, dataplane: DataplaneClient) -> dict[str, Any]:
    """Return the state of the agent, its queue, its workers, its data plane and each of its routers."""
    return {
        "version": __version__,
        "host": agent.host,
        # The same clock as `updated_at` of a router, so that a reader can compute ages without a common time of day.
        "now": time.monotonic(),
        "in_sync": agent.in_sync,
        "full_syncs": agent.full_syncs,
        "admin": agent.admin,
        "paused": sorted(agent.paused),
        "queue": agent.queue.counts(),
        "failures": _failures(agent),
        "orphans": agent.orphans,
        "mass_delete": {
            "held": agent.held,
            "suspected_answers": agent.suspected_answers,
        },
        "workers": {"size": agent.worker_count, "busy": len(agent.busy_workers)},
        "dataplane": {
            "connected": dataplane.connected,
            "pid": dataplane.pid,
            "version": dataplane.version,
            "reason": dataplane.reason,
        },
        "routers": {router_id: _router_status(agent, info) for router_id, info in agent.router_info.items()},
        "removed": agent.recent_removals,
        "unserved_features": count_unserved_features(agent),
    }


def count_unserved_features(agent: AgentView) -> dict[str, int]:
    """Return the number of routers that request a feature this agent does not serve, for every such feature."""
    states = [info.state for info in agent.router_info.values() if info.state is not None]
    return {feature: sum(feature in state.unserved_features for state in states) for feature in FEATURES}


def count_routers_with_skipped_parts(agent: AgentView) -> int:
    """Return the number of routers with a skipped part."""
    states = [info.state for info in agent.router_info.values() if info.state is not None]
    # Each unserved feature adds one warning, which is not about a skipped part.
    return sum(len(state.warnings) > len(state.unserved_features) for state in states)


def plans(agent: AgentView, dataplane: DataplaneClient, router_id: str | None) -> dict[str, Any]:
    """Return the pending kernel operations (``plans``) and the errors (``failed``) by router id; change nothing.

    :param router_id: one router; None for all.
    :raises DataplaneUnavailable: the data plane does not answer.
    :raises L3AgentError: the router is not on this node.
    """
    infos = list(agent.router_info.values()) if router_id is None else [_find_router(agent, router_id)]
    reports = _plan_reports(dataplane, [info for info in infos if info.state])
    failed = {info.id: info.error or "not fetched yet" for info in infos if info.state is None}
    failed |= {info.id: info.rejection for info in infos if info.rejection}
    failed |= {report.id: report.error for report in reports if report.error}
    return {"plans": {one.id: list(one.operations) for one in reports if not one.error}, "failed": failed}


def show(agent: AgentView, dataplane: DataplaneClient, router_id: str) -> dict[str, Any]:
    """Return the status of a router, its desired and actual kernel state, and the pending operations.

    :raises DataplaneUnavailable: the data plane does not answer.
    :raises L3AgentError: the router is not on this node.
    """
    info = _find_router(agent, router_id)
    states = keyed_states(info.id, info.state, info.former_keys)
    found = merge_inspections([dataplane.inspect(key, state) for key, state in states])
    plan = plans(agent, dataplane, router_id) if info.state else {"plans": {}}
    warnings = _warnings(info, None)
    return {"id": info.id, **_router_status(agent, info), **warnings, **found, "plan": plan["plans"].get(info.id)}


def traffic(agent: AgentView, dataplane: DataplaneClient, router_id: str | None) -> dict[str, Any]:
    """Return the name and the traffic counters of devices and floating IPs of each router, by router id.

    A router without a namespace, or whose counters cannot be read, has an ``error`` instead of counters.

    :param router_id: one router; None for all.
    :raises DataplaneUnavailable: the data plane does not answer.
    :raises L3AgentError: the router is not on this node.
    """
    infos = list(agent.router_info.values()) if router_id is None else [_find_router(agent, router_id)]
    # One request per namespace, so that requests of workers are served between them.
    return {info.id: {"name": info.name, **_counters(agent, dataplane, info.id)} for info in infos}


def _counters(agent: AgentView, dataplane: DataplaneClient, router_id: str) -> dict[str, Any]:
    try:
        counters = merge_counters(dataplane.traffic(key) for key in agent.router_keys(router_id))
        return counters or {"error": "no namespace in the kernel"}
    except ApplyError as exc:
        return {"error": str(exc)}


def topology(agent: AgentView, hosts: Iterable[Mapping[str, Any]], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the networks, addresses and floating IPs of each router, from its desired state.

    :param hosts: hosts of a standalone topology: name, network id, addresses.
    :param names: network names by id; may be incomplete.
    """
    routers = [describe_topology(info) for info in agent.router_info.values()]
    return {"host": agent.host, "routers": routers, "hosts": list(hosts), "networks": dict(names)}


def _plan_reports(dataplane: DataplaneClient, infos: Iterable[RouterInfo]) -> list[Report]:
    """Return one report of a dry run for each router; all keys of all routers are in one request."""
    by_router = {info.id: keyed_states(info.id, info.state, info.former_keys) for info in infos}
    states = [one for several in by_router.values() for one in several]
    reports = iter(dataplane.reconcile(states, dry_run=True) if states else ())
    return [merge_reports(one, list(islice(reports, len(several)))) for one, several in by_router.items()]


def _find_router(agent: AgentView, router_id: str) -> RouterInfo:
    if router_id not in agent.router_info:
        raise L3AgentError(f"router {router_id}: not on this node")
    return agent.router_info[router_id]


def _failures(agent: AgentView) -> dict[str, Any]:
    """Return the failed routers by id: name, reason, failed attempts, and seconds until the next attempt.

    A router whose data from the server is invalid is retried only after its next update (``retry_in`` is None).
    """
    failures: dict[str, dict[str, Any]] = {
        info.id: {"name": info.name, "reason": info.error, "attempts": 1, "retry_in": None}
        for info in agent.router_info.values()
        if info.status == "error"
    }
    for router_id, failure in agent.queue.failures().items():
        info = agent.router_info.get(router_id)
        failures[router_id] = {
            "name": "" if info is None else info.name,
            "reason": failure.reason,
            "attempts": failure.attempts,
            "retry_in": agent.queue.seconds_to_retry(router_id),
        }
    return failures


def _router_status(agent: AgentView, info: RouterInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "state": info.status,
        "error": info.error,
        **_warnings(info, _SHOWN_WARNINGS),
        "paused": info.id in agent.paused,
        "retry_in": agent.queue.seconds_to_retry(info.id) or None,
        "updates": info.updates,
        "last": {
            "count": info.count,
            "operations": list(info.operations[:_SHOWN_OPERATIONS]),
            "timings": info.timings,
        },
        "updated_at": info.updated_at,
    }


def _warnings(info: RouterInfo, limit: int | None) -> dict[str, Any]:
    """Return the warnings of a router, their total number, and its unserved features.

    :param limit: maximum number of warnings to return; None for all.
    """
    if info.state is None:
        return {"warnings": [], "warning_count": 0, "unserved_features": []}
    warnings = info.state.warnings
    features = sorted(info.state.unserved_features)
    return {"warnings": list(warnings[:limit]), "warning_count": len(warnings), "unserved_features": features}


def describe_topology(info: RouterInfo) -> dict[str, Any]:
    """Return the ports, addresses, routes and floating IPs in the desired state of a router."""
    state = info.state
    gateways = set() if state is None else {one.gateway for one in state.namespaces}
    ports = [] if state is None else sorted(state.all_ports(), key=lambda port: (port not in gateways, port.device))
    return {
        "id": info.id,
        "name": info.name,
        "state": info.status,
        "ports": [
            {
                "device": port.device,
                "network": port.network_id,
                "gateway": port in gateways,
                "addresses": sorted(map(str, port.addresses)),
            }
            for port in ports
        ],
        "snat": bool(state and state.snat),
        "routes": [] if state is None else _extra_routes(state),
        "floating_ips": [] if state is None else sorted([str(f.floating), str(f.fixed)] for f in state.floating_ips),
    }


def _extra_routes(state: RouterState) -> list[str]:
    """Return the destinations of routes of the main table with a next hop, without default routes."""
    routes = (one for one in state.routes if one.table == MAIN_TABLE)
    by_hop = (one.destination for one in routes if any(hop.via for hop in one.hops))
    return sorted(str(one) for one in by_hop if one.prefixlen)
