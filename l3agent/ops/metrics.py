# SPDX-License-Identifier: Apache-2.0
"""Metrics for Prometheus. No label carries an id; the log and ``l3-agentctl status`` name the router.

Counters and histograms are updated as events happen; current state is read from the agent at the scrape
(:mod:`l3agent.ops.state_metrics`).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from l3agent import __version__
from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.results import UpdateResult
from l3agent.agent.view import AgentView
from l3agent.ops.state_metrics import StateCollector

PHASES = ("wait", "fetch", "observe", "plan", "apply")
#: Seconds. One router takes 1 to 10 ms, a slow server some seconds, a wait behind a full sync minutes.
_UPDATE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SYNC_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
#: Seconds. A broker closes a connection after some seconds without a heartbeat; a lag of 10 ms is harmless.
_HUB_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """All metrics of an agent, in a registry of their own.

    :param reload_succeeded: returns True if the last reload of the configuration succeeded.
    """

    def __init__(self, agent: AgentView, dataplane: DataplaneClient, reload_succeeded: Callable[[], bool]) -> None:
        # A second series per counter, with its creation time, would double the counters and no alert reads it.
        prometheus_client.disable_created_metrics()
        self.registry = CollectorRegistry()
        _add_build_info(self.registry)
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
        self.registry.register(StateCollector(agent, dataplane, reload_succeeded, lambda: self._drift_operations))
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


def _add_build_info(registry: CollectorRegistry) -> None:
    build = Gauge(
        "l3agent_build_info",
        "Versions of the agent and of eventlet as labels; the value is always 1.",
        ["version", "eventlet"],
        registry=registry,
    )
    build.labels(__version__, eventlet.__version__).set(1)
