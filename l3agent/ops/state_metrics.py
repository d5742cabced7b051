# SPDX-License-Identifier: Apache-2.0
"""Metrics of the current state: read from the agent, and from the counters of its data plane, at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from oslo_log import log as logging
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC
from l3agent.agent.view import AgentView
from l3agent.exceptions import L3AgentError
from l3agent.ops.status import count_routers_with_skipped_parts, count_unserved_features

LOG = logging.getLogger(__name__)

_PRIORITIES = {PRIORITY_RPC: "rpc", PRIORITY_FULL_SYNC: "full_sync"}
_STATUSES = ("active", "pending", "error")
#: Seconds for which counters of the data plane are cached.
_STATS_CACHE_S = 1.0


class StateCollector(Collector):  # type: ignore[misc]
    """Reads the state of the agent and of its data plane at each scrape."""

    def __init__(
        self,
        agent: AgentView,
        dataplane: DataplaneClient,
        reload_succeeded: Callable[[], bool],
        drift_operations: Callable[[], int],
    ) -> None:
        self._agent = agent
        self._dataplane = dataplane
        self._reload_succeeded = reload_succeeded
        self._drift_operations = drift_operations
        self._stats: dict[str, Any] = {}
        self._stats_at = -_STATS_CACHE_S

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that the registration sends no request to the data plane."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the current values."""
        yield from _collect_routers(self._agent)
        yield from _collect_queue(self._agent)
        yield from _collect_full_sync(self._agent)
        stats = self._dataplane_stats()
        yield from self._collect_processes()
        yield self._drift_repairs(stats)
        yield from _collect_kernel(stats)
        yield from _collect_switch(stats)
        yield from _collect_limits(stats)

    def _collect_processes(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "l3agent_config_last_reload_successful",
            "1 if the last reload of the configuration succeeded, 0 if the former values are still in effect.",
            self._reload_succeeded(),
        )
        yield GaugeMetricFamily(
            "l3agent_dataplane_connected", "1 if the data plane is connected, else 0.", self._dataplane.connected
        )
        yield InfoMetricFamily(
            "l3agent_dataplane",
            "Version of the data plane as a label; cause is empty while it is connected, else absent or rejected.",
            {"version": self._dataplane.version or "", "cause": self._dataplane.cause or ""},
        )

    def _drift_repairs(self, stats: Mapping[str, Any]) -> Metric:
        return CounterMetricFamily(
            "l3agent_drift_repair_operations",
            "Kernel operations that reverted changes made by other programs.",
            self._drift_operations() + stats.get("repair_operations", 0),
        )

    def _dataplane_stats(self) -> dict[str, Any]:
        """Return the counters of the data plane, the last known ones while it is busy or disconnected."""
        now = time.monotonic()
        if now - self._stats_at >= _STATS_CACHE_S:
            self._stats_at = now
            try:
                self._stats = self._dataplane.stats()
            except L3AgentError as exc:
                LOG.debug("No counters of the data plane: %s", exc)
        return self._stats


def _collect_routers(agent: AgentView) -> Iterable[Metric]:
    routers: list[str] = [info.status for info in agent.router_info.values()]
    yield _add_samples(
        GaugeMetricFamily("l3agent_routers", "Routers on this node, by status.", labels=["status"]),
        {status: routers.count(status) for status in _STATUSES},
    )
    yield _add_samples(
        GaugeMetricFamily(
            "l3agent_unserved_feature_routers",
            "Routers that request a feature this agent does not serve, by feature.",
            labels=["feature"],
        ),
        count_unserved_features(agent),
    )
    yield GaugeMetricFamily(
        "l3agent_routers_with_skipped_parts",
        "Routers with a port, address, floating IP or route that cannot be served and is skipped.",
        count_routers_with_skipped_parts(agent),
    )


def _collect_queue(agent: AgentView) -> Iterable[Metric]:
    depth = agent.queue.depth()
    yield _add_samples(
        GaugeMetricFamily("l3agent_queue_depth", "Routers waiting for a worker, by priority.", labels=["priority"]),
        {name: depth[priority] for priority, name in _PRIORITIES.items()},
    )
    retrying = agent.queue.counts()["retrying"]
    yield GaugeMetricFamily("l3agent_queue_retrying", "Routers in back-off after a failed update.", retrying)
    yield GaugeMetricFamily(
        "l3agent_queue_oldest_seconds",
        "Age of the oldest update waiting for a worker.",
        agent.queue.longest_wait(),
    )
    yield GaugeMetricFamily("l3agent_workers", "Workers, busy and idle.", agent.worker_count)
    yield GaugeMetricFamily("l3agent_workers_busy", "Workers that process a router.", len(agent.busy_workers))
    yield GaugeMetricFamily(
        "l3agent_workers_oldest_seconds",
        "Age of the longest-running update.",
        max(agent.busy_workers.values(), default=0.0),
    )


def _collect_full_sync(agent: AgentView) -> Iterable[Metric]:
    yield GaugeMetricFamily(
        "l3agent_in_sync", "1 if every router of the last full sync is processed, else 0.", agent.in_sync
    )
    yield GaugeMetricFamily(
        "l3agent_mass_delete_held",
        "Routers missing from the server's answer and kept until a second answer confirms their removal.",
        len(agent.held),
    )
    yield CounterMetricFamily(
        "l3agent_mass_delete_suspected_answers",
        "Answers of the server that would have removed many routers at once.",
        agent.suspected_answers,
    )
    yield GaugeMetricFamily(
        "l3agent_orphans",
        "Unknown router namespaces kept during the grace period.",
        len(agent.orphans),
    )


def _collect_kernel(stats: Mapping[str, Any]) -> Iterable[Metric]:
    batches = CounterMetricFamily(
        "l3agent_kernel_batches", "Batches sent to the kernel, by tool and result.", labels=["tool", "result"]
    )
    for tool, results in stats.get("batches", {}).items():
        for result, count in results.items():
            batches.add_metric([tool, result], count)
    yield batches
    yield _add_samples(
        CounterMetricFamily("l3agent_kernel_operations", "Kernel operations completed, by kind.", labels=["kind"]),
        stats.get("operations", {}),
    )


def _collect_switch(stats: Mapping[str, Any]) -> Iterable[Metric]:
    if (switch := stats.get("switch")) is None:
        return
    yield GaugeMetricFamily(
        "l3agent_ovsdb_connected", "1 if the data plane is connected to OVSDB, else 0.", switch["connected"]
    )
    yield GaugeMetricFamily(
        "l3agent_ovs_ports_not_wired",
        "Open vSwitch ports that the L2 agent has not wired yet.",
        switch["not_wired"],
    )


def _collect_limits(stats: Mapping[str, Any]) -> Iterable[Metric]:
    limits = {name.replace(" ", "_"): limit for name, limit in stats.get("limits", {}).items()}
    yield _add_samples(
        GaugeMetricFamily(
            "l3agent_resource_limit_used", "Units of a limited host resource in use.", labels=["resource"]
        ),
        {name: used for name, (used, _) in limits.items()},
    )
    yield _add_samples(
        GaugeMetricFamily("l3agent_resource_limit", "Limit of a host resource.", labels=["resource"]),
        {name: limit for name, (_, limit) in limits.items()},
    )
    yield _add_samples(
        CounterMetricFamily(
            "l3agent_resource_limit_overflows",
            "Entries that the kernel refused because a host resource was exhausted.",
            labels=["resource"],
        ),
        {name.replace(" ", "_"): count for name, count in stats.get("overflows", {}).items()},
    )


def _add_samples(family: Any, values: Mapping[str, float]) -> Any:
    """Add one sample per label value and return the family."""
    for label, value in values.items():
        family.add_metric([label], value)
    return family
