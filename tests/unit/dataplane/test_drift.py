# SPDX-License-Identifier: Apache-2.0
"""Events that arrive while a state is being changed, and the ends of requests for one state."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from l3agent.dataplane.backend import Observed
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.kernel.namespace_cache import NamespaceCache
from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.kinds.observation import Notice
from l3agent.dataplane.plan.kinds.switch_port import PortEvent
from l3agent.dataplane.plan.render import entries
from l3agent.dataplane.reconcile import Reconciler
from l3agent.dataplane.work.turns import Superseded
from l3agent.model.states import NamespaceState
from tests.support.states import key, namespace, new_id, port, router

DRIVER = load_driver("openvswitch", integration_bridge="br-int", external_bridge="", use_veth=False)
INNER, GATEWAY = port(new_id(), "10.0.0.1/24"), port(new_id(), "203.0.113.10/24", gateway=True)
STATE = router(INNER, gateway=GATEWAY)
KEY = key(STATE)
DELETED: list[Notice] = [(None, PortEvent(INNER.device, None))]


class Backends:
    """Has events to report, once."""

    def __init__(self) -> None:
        self.pending: list[Notice] = []

    def events(self) -> list[Notice]:
        found, self.pending = self.pending, []
        return found


@pytest.fixture
def backends() -> Backends:
    return Backends()


@pytest.fixture
def drift(backends: Backends) -> Drift:
    return Drift(backends, DRIVER)  # type: ignore[arg-type]


def observed(state: NamespaceState) -> Observed:
    """Return an observation whose namespace stands for a real one."""
    cache = NamespaceCache()
    cache.record_nsid(1)
    handle = SimpleNamespace(name=namespace(state), cache=cache, generation=lambda: 7)
    return Observed(handle=handle, devices={INNER.device: 2, GATEWAY.device: 3})  # type: ignore[arg-type]


def is_noticed(drift: Drift) -> bool:
    return drift.snapshot(KEY) is None or drift.next_due() is not None


def test_an_event_between_the_snapshot_and_the_second_thread_is_not_lost(drift: Drift, backends: Backends) -> None:
    desired = entries(KEY, STATE, DRIVER)
    drift.begin(KEY, STATE)
    drift.record_applied(KEY, STATE, desired, observed(STATE), [])
    snapshot = drift.snapshot(KEY)
    assert snapshot is not None
    backends.pending = list(DELETED)
    drift.buffer_events(KEY)
    # The request is under way, so the mark stays.
    assert drift.next_due({KEY}) is None
    changed = router(INNER, gateway=GATEWAY, fips={"203.0.113.100": "10.0.0.5"})
    drift.applied.begin_change(KEY, changed)
    drift.repairs.clear(KEY)
    drift.record_change(KEY, changed, snapshot)
    assert is_noticed(drift)


def test_an_event_between_the_observation_and_the_second_thread_is_not_lost(drift: Drift, backends: Backends) -> None:
    drift.begin(KEY, STATE)
    drift.read_events()
    backends.pending = list(DELETED)
    drift.buffer_events(KEY)
    drift.record_applied(KEY, STATE, entries(KEY, STATE, DRIVER), observed(STATE), [])
    assert is_noticed(drift)


def test_a_superseded_request_leaves_the_events_of_its_successor(drift: Drift) -> None:
    kernel: Any = SimpleNamespace(counting=False)
    reconciler = Reconciler(kernel, None, DRIVER, None, None, drift)  # type: ignore[arg-type]

    class Converger:
        """Stands for the work: that of the first request waits for the switch, that of the second for the thread."""

        def converge(self, job: Any) -> Iterator[Any]:
            if job.state is None:
                yield "switch"
                raise Superseded
            drift.buffer_events(job.key)
            yield "thread"

    reconciler._converger = Converger()  # type: ignore[assignment]
    old, new = reconciler.reconcile(KEY, None, lines=9), reconciler.reconcile(KEY, STATE, lines=9)
    assert (next(old), next(new)) == ("switch", "thread")  # type: ignore[comparison-overlap]
    with pytest.raises(StopIteration) as ended:
        next(old)
    assert "superseded" in str(ended.value.value.error)
    assert KEY in drift._buffered


def test_without_the_repair_of_drift_events_mark_nothing(backends: Backends) -> None:
    drift = Drift(backends, DRIVER, repairs_drift=False)  # type: ignore[arg-type]
    drift.begin(KEY, STATE)
    drift.record_applied(KEY, STATE, entries(KEY, STATE, DRIVER), observed(STATE), [])
    backends.pending = list(DELETED)
    drift.read_events()
    assert drift.next_due() is None and backends.pending == []
