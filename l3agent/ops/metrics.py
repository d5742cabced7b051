# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus. No label carries an id; the log and ``l3-agentctl status`` name the router.

Counters and histograms are updated as events happen; current state is read from the agent at the scrape.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import eventlet
import prometheus_client
from oslo_log import log as logging
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from l3agent import __version__
from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC
from l3agent.agent.results import UpdateResult
from l3agent.agent.view import AgentView
from l3agent.exceptions import L3AgentError
from l3agent.ops.status import count_routers_with_skipped_parts, count_unserved_features

LOG = logging.getLogger(__name__)

PHASES = ("wait", "fetch", "observe", "plan", "apply")
#: Seconds. One router takes 1 to 10 ms, a slow server some seconds, a wait behind a full sync minutes.
_UPDATE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SYNC_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
#: Seconds. A broker closes a connection after some seconds without a heartbeat; a lag of 10 ms is harmless.
_HUB_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PRIORITIES = {PRIORITY_RPC: "rpc", PRIORITY_FULL_SYNC: "full_sync"}
_STATUSES = ("active", "pending", "error")
#: Seconds for which counters of the data plane are cached.
_STATS_CACHE_S = 1.0


class Metrics:
    """All metrics of an agent, in a registry of their own.

    :param reload_succeeded: returns True if the last reload of the configuration succeeded.
    """

    def __init__(self, agent: AgentView, dataplane: DataplaneClient, reload_succeeded: Callable[[], bool]) -> None:
        # A second series per counter, with its creation time, would double the counters and no alert reads it.
        prometheus_client.disable_created_metrics()
        self.registry = CollectorRegistry()
        build = Gauge(
            "l3agent_build_info",
            "Versions of the agent and of eventlet as labels; the value is always 1.",
            ["version", "eventlet"],
            registry=self.registry,
        )
        build.labels(__version__, eventlet.__version__).set(1)
        self._updates = Counter(
            "l3agent_router_updates",
            "Processed router updates.",
            ["action", "result"],
            registry=self.registry,
        )
        seconds = Histogram(
            "l3agent_router_update_seconds",
            "Time of a router update by phase: wait and fetch in the agent, the others in the data plane.",
            ["phase"],
            buckets=_UPDATE_BUCKETS,
            registry=self.registry,
        )
        self._phases = {phase: seconds.labels(phase) for phase in PHASES}
        self._full_sync = Histogram(
            "l3agent_full_sync_seconds",
            "Time of a full sync, from the first request to the last router in the queue.",
            ["result"],
            buckets=_SYNC_BUCKETS,
            registry=self.registry,
        )
        self._last_success = Gauge(
            "l3agent_full_sync_last_success_timestamp_seconds",
            "Unix time of the last complete full sync; 0 if none has completed.",
            registry=self.registry,
        )
        self._rpc = Counter(
            "l3agent_rpc_requests",
            "RPC messages sent (out) and processed (in), by result: ok, error or unavailable.",
            ["method", "direction", "result"],
            registry=self.registry,
        )
        self._hub_lag = Histogram(
            "l3agent_eventlet_hub_lag_seconds",
            "Lag of the eventlet hub: delay of a timer, and of every greenthread of the agent.",
            buckets=_HUB_BUCKETS,
            registry=self.registry,
        )
        self._drift_operations = 0
        ProcessCollector(registry=self.registry)
        self.registry.register(_StateCollector(agent, dataplane, reload_succeeded, lambda: self._drift_operations))
        agent.result_observers.append(self._record_update)
        agent.full_sync_observers.append(self._record_full_sync)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return bytes(generate_latest(self.registry))

    def count_message(self, method: str, direction: str, result: str) -> None:
        """Count an RPC message; an observer for :func:`l3agent.rpc.observers.on_result`."""
        self._rpc.labels(method, direction, result).inc()

    def observe_hub_lag(self, seconds: float) -> None:
        """Record one measurement of the hub's lag."""
        self._hub_lag.observe(seconds)

    def _record_update(self, result: UpdateResult) -> None:
        self._updates.labels(result.action, result.status).inc()
        for phase, seconds in result.timings.items():
            if phase in self._phases:
                self._phases[phase].observe(seconds)
        if result.drift_repair:
            self._drift_operations += result.operations

    def _record_full_sync(self, result: str, seconds: float) -> None:
        self._full_sync.labels(result).observe(seconds)
        if result == "ok":
            self._last_success.set(time.time())


class _StateCollector(Collector):  # type: ignore[misc]
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
        yield from self._collect_agent()
        yield from self._collect_dataplane(self._dataplane_stats())

    def _collect_agent(self) -> Iterable[Metric]:
        agent = self._agent
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
        yield GaugeMetricFamily(
            "l3agent_config_last_reload_successful",
            "1 if the last reload of the configuration succeeded, 0 if the former values are still in effect.",
            self._reload_succeeded(),
        )

    def _collect_dataplane(self, stats: dict[str, Any]) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "l3agent_dataplane_connected", "1 if the data plane is connected, else 0.", self._dataplane.connected
        )
        yield InfoMetricFamily(
            "l3agent_dataplane",
            "Version of the data plane as a label; cause is empty while it is connected, else absent or rejected.",
            {"version": self._dataplane.version or "", "cause": self._dataplane.cause or ""},
        )
        yield CounterMetricFamily(
            "l3agent_drift_repair_operations",
            "Kernel operations that reverted changes made by other programs.",
            self._drift_operations() + stats.get("repair_operations", 0),
        )
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
        if "switch" in stats:
            switch = stats["switch"]
            yield GaugeMetricFamily(
                "l3agent_ovsdb_connected", "1 if the data plane is connected to OVSDB, else 0.", switch["connected"]
            )
            yield GaugeMetricFamily(
                "l3agent_ovs_ports_not_wired",
                "Open vSwitch ports that the L2 agent has not wired yet.",
                switch["not_wired"],
            )
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


def _add_samples(family: Any, values: Mapping[str, float]) -> Any:
    """Add one sample per label value and return the family."""
    for label, value in values.items():
        family.add_metric([label], value)
    return family
