# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus. No label carries an id: which router it was, the log and ``l3-agentctl status`` tell.

Counts and times are taken as things happen; what can be read off the agent at any time is read at the scrape.
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
from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC
from l3agent.agent.results import Outcome
from l3agent.exceptions import L3AgentError
from l3agent.ops.status import routers_with_skipped_parts, unserved_features

LOG = logging.getLogger(__name__)

PHASES = ("wait", "fetch", "observe", "plan", "apply")
#: Seconds. One router is 1 to 10 ms, a slow server some seconds, a wait behind a full sync minutes.
_UPDATE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SYNC_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
#: A broker gives up a connection after some seconds without a heartbeat; 10 ms is nothing.
_HUB_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_PRIORITIES = {PRIORITY_RPC: "rpc", PRIORITY_FULL_SYNC: "full_sync"}
_STATUSES = ("active", "pending", "error")
#: Seconds for which the counters of the data plane are as good as new.
_STATS_LAST_S = 1.0


class Metrics:
    """All metrics of an agent, in a registry of their own.

    :param reloaded: tells whether the configuration could be read the last time.
    """

    def __init__(self, agent: L3NATAgent, dataplane: DataplaneClient, reloaded: Callable[[], bool]) -> None:
        # A second series a counter, with the time it was made, is of no use to anybody here.
        prometheus_client.disable_created_metrics()
        self.registry = CollectorRegistry()
        build = Gauge("l3agent_build_info", "Always 1.", ["version", "eventlet"], registry=self.registry)
        build.labels(__version__, eventlet.__version__).set(1)
        self._updates = Counter(
            "l3agent_router_updates",
            "Updates of routers that were processed.",
            ["action", "result"],
            registry=self.registry,
        )
        seconds = Histogram(
            "l3agent_router_update_seconds",
            "Time of one update in each phase; wait and fetch in the agent, the others in the data plane.",
            ["phase"],
            buckets=_UPDATE_BUCKETS,
            registry=self.registry,
        )
        self._phases = {phase: seconds.labels(phase) for phase in PHASES}
        self._full_sync = Histogram(
            "l3agent_full_sync_seconds",
            "Time of a full sync, from its first question to the last router in the queue.",
            ["result"],
            buckets=_SYNC_BUCKETS,
            registry=self.registry,
        )
        self._last_success = Gauge(
            "l3agent_full_sync_last_success_timestamp_seconds",
            "When a full sync was complete the last time; 0: never.",
            registry=self.registry,
        )
        self._rpc = Counter(
            "l3agent_rpc_requests",
            "Messages sent (out) and worked on (in); result is ok, error or unavailable.",
            ["method", "direction", "result"],
            registry=self.registry,
        )
        self._hub_delay = Histogram(
            "l3agent_hub_delay_seconds",
            "How late a timer of the hub is; all greenthreads of the agent were.",
            buckets=_HUB_BUCKETS,
            registry=self.registry,
        )
        self._drift = 0
        ProcessCollector(registry=self.registry)
        self.registry.register(_Live(agent, dataplane, reloaded, lambda: self._drift))
        agent.outcomes.watchers.append(self._updated)
        agent.full_sync.watchers.append(self._synced)

    def text(self) -> bytes:
        """Return all of them in the text format of Prometheus."""
        return bytes(generate_latest(self.registry))

    def requested(self, method: str, direction: str, result: str) -> None:
        """Count a message; for :func:`l3agent.rpc.observers.watch`."""
        self._rpc.labels(method, direction, result).inc()

    def hub_was_late(self, seconds: float) -> None:
        """Take one look at the lateness of the hub."""
        self._hub_delay.observe(seconds)

    def _updated(self, outcome: Outcome) -> None:
        self._updates.labels(outcome.action, outcome.result).inc()
        for phase, seconds in outcome.timings.items():
            if phase in self._phases:
                self._phases[phase].observe(seconds)
        if outcome.unasked:
            self._drift += outcome.operations

    def _synced(self, result: str, seconds: float) -> None:
        self._full_sync.labels(result).observe(seconds)
        if result == "ok":
            self._last_success.set(time.time())


class _Live(Collector):  # type: ignore[misc]
    """What is read off the agent and its data plane at each scrape."""

    def __init__(
        self, agent: L3NATAgent, dataplane: DataplaneClient, reloaded: Callable[[], bool], drift: Callable[[], int]
    ) -> None:
        self._agent = agent
        self._dataplane = dataplane
        self._reloaded = reloaded
        self._drift = drift
        self._stats: dict[str, Any] = {}
        self._stats_at = -_STATS_LAST_S

    def describe(self) -> Iterable[Metric]:
        """Return nothing: asking for the names shall not ask the data plane."""
        return []

    def collect(self) -> Iterable[Metric]:
        """Return the values of now."""
        yield from self._of_agent()
        yield from self._of_dataplane(self._counters())

    def _of_agent(self) -> Iterable[Metric]:
        agent = self._agent
        routers: list[str] = [info.status for info in agent.router_info.values()]
        yield _labelled(
            GaugeMetricFamily("l3agent_routers", "Routers of this node.", labels=["status"]),
            {status: routers.count(status) for status in _STATUSES},
        )
        yield _labelled(
            GaugeMetricFamily(
                "l3agent_unserved_feature_routers",
                "Routers that ask for a feature that this agent does not serve.",
                labels=["feature"],
            ),
            unserved_features(agent),
        )
        yield GaugeMetricFamily(
            "l3agent_routers_with_skipped_parts",
            "Routers of which a port, an address, a floating IP or a route cannot be served and is skipped.",
            routers_with_skipped_parts(agent),
        )
        depth = agent.queue.depth()
        yield _labelled(
            GaugeMetricFamily("l3agent_queue_depth", "Routers that wait for a worker.", labels=["priority"]),
            {name: depth[priority] for priority, name in _PRIORITIES.items()},
        )
        retrying = agent.queue.counts()["retrying"]
        yield GaugeMetricFamily("l3agent_queue_retrying", "Routers that failed and wait for another try.", retrying)
        yield GaugeMetricFamily(
            "l3agent_queue_oldest_seconds",
            "For how long the router has waited that waits longest for a worker.",
            agent.queue.oldest(),
        )
        yield GaugeMetricFamily("l3agent_workers", "Workers, busy or not.", agent.pool.size)
        yield GaugeMetricFamily("l3agent_workers_busy", "Workers that have a router in hand.", len(agent.in_hand))
        yield GaugeMetricFamily(
            "l3agent_workers_oldest_seconds",
            "For how long the worker has been busy that is busy longest.",
            max(agent.in_hand.ages().values(), default=0.0),
        )
        yield GaugeMetricFamily("l3agent_in_sync", "1 when nothing is left of a full sync.", agent.full_sync.in_sync)
        yield GaugeMetricFamily(
            "l3agent_mass_delete_held",
            "Routers that the server leaves out and that are kept until it does so a second time.",
            len(agent.doubt.held),
        )
        yield CounterMetricFamily(
            "l3agent_mass_delete_doubted", "Answers of the server that left out many routers.", agent.doubt.doubted
        )
        yield GaugeMetricFamily(
            "l3agent_orphans", "Routers in the kernel that are nobody's and stay for now.", len(agent.orphans.ages())
        )
        yield GaugeMetricFamily(
            "l3agent_config_last_reload_success",
            "1 when the configuration could be read the last time, 0 when the old one stands.",
            self._reloaded(),
        )

    def _of_dataplane(self, stats: dict[str, Any]) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "l3agent_dataplane_connected", "1 when the data plane is connected.", self._dataplane.connected
        )
        yield InfoMetricFamily(
            "l3agent_dataplane",
            "Version of the data plane that answered last; cause: empty while connected, else absent or rejected.",
            {"version": self._dataplane.version or "", "cause": self._dataplane.cause or ""},
        )
        yield CounterMetricFamily(
            "l3agent_drift_operations",
            "Operations that were needed although nothing had been asked for: somebody had changed the kernel.",
            self._drift() + stats.get("repair_operations", 0),
        )
        batches = CounterMetricFamily(
            "l3agent_kernel_batches", "Batches sent to the kernel.", labels=["tool", "result"]
        )
        for tool, results in stats.get("batches", {}).items():
            for result, count in results.items():
                batches.add_metric([tool, result], count)
        yield batches
        yield _labelled(
            CounterMetricFamily("l3agent_kernel_operations", "Operations carried out.", labels=["kind"]),
            stats.get("operations", {}),
        )
        if "switch" in stats:
            switch = stats["switch"]
            yield GaugeMetricFamily("l3agent_ovsdb_connected", "1 when OVSDB is connected.", switch["connected"])
            yield GaugeMetricFamily(
                "l3agent_ovs_ports_not_wired",
                "Ports of Open vSwitch that wait for the L2 agent.",
                switch["not_wired"],
            )
        limits = {name.replace(" ", "_"): limit for name, limit in stats.get("limits", {}).items()}
        yield _labelled(
            GaugeMetricFamily("l3agent_limit_used", "How much of a limit of the host is used.", labels=["limit"]),
            {name: used for name, (used, _) in limits.items()},
        )
        yield _labelled(
            GaugeMetricFamily("l3agent_limit_max", "The limit.", labels=["limit"]),
            {name: most for name, (_, most) in limits.items()},
        )
        yield _labelled(
            CounterMetricFamily(
                "l3agent_limit_overflows", "How often the kernel refused an entry for the limit.", labels=["limit"]
            ),
            {name.replace(" ", "_"): count for name, count in stats.get("overflows", {}).items()},
        )

    def _counters(self) -> dict[str, Any]:
        """Ask the data plane; while it is busy with something long, or gone, its last word stands."""
        now = time.monotonic()
        if now - self._stats_at >= _STATS_LAST_S:
            self._stats_at = now
            try:
                self._stats = self._dataplane.stats()
            except L3AgentError as exc:
                LOG.debug("No counters of the data plane: %s", exc)
        return self._stats


def _labelled(family: Any, values: Mapping[str, float]) -> Any:
    for label, value in values.items():
        family.add_metric([label], value)
    return family
