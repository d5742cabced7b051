# SPDX-License-Identifier: Apache-2.0
"""Fake data plane: a dictionary of states."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import eventlet

from l3agent import __version__
from l3agent.exceptions import ApplyError
from l3agent.model.names import KINDS
from l3agent.model.states import Key, Report, State
from l3agent.testing.failures import Failures


class FakeDataplane:
    """Replaces :class:`l3agent.agent.dataplane_client.DataplaneClient`: stores states, fails on request.

    :param states: initial states.
    :param delay: duration of one state's reconciliation in seconds; may be changed at any time.
    """

    connected = True
    version = __version__
    reason: str | None = None
    cause: str | None = None

    def __init__(self, states: Mapping[Key, State] | None = None, *, delay: float = 0.0) -> None:
        self.states: dict[Key, State] = dict(states or {})
        self.delay = delay
        self.pid = 1
        #: Applied states, in order.
        self.applied: list[tuple[Key, State | None]] = []
        #: Keys requested while the same key was being processed, which the agent must prevent.
        self.collisions: list[Key] = []
        #: Keys whose drift is not repaired until their next reconciliation.
        self.unmanaged: set[Key] = set()
        self._processing: set[Key] = set()
        self._failures = Failures()
        self._callbacks: list[Callable[[], None]] = []

    def fail_next(self, error: BaseException, times: int = 1, *, operation: str = "reconcile") -> None:
        """Schedule an error of the next requests; an ``ApplyError`` becomes the error of a report."""
        self._failures.schedule(operation, error, times)

    def restart(self) -> None:
        """Simulate a restart: another process id, the same states."""
        self.pid += 1
        for callback in self._callbacks:
            eventlet.spawn_n(callback)

    def on_new_process(self, callback: Callable[[], None]) -> None:
        """Register a function to call after :meth:`restart`."""
        self._callbacks.append(callback)

    def stats(self, timeout: float = 1.0) -> dict[str, Any]:
        """Return counters in the form of the data plane's."""
        self._failures.raise_next("stats")
        return {"repair_operations": 0, "batches": {}, "operations": {"add": len(self.applied)}, "limits": {}}

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of the states, by kind."""
        self._failures.raise_next("inventory")
        found: dict[str, list[str]] = {kind: [] for kind in KINDS}
        for kind, state_id in self.states:
            found[kind].append(state_id)
        return found

    def unmanage(self, keys: Iterable[Key]) -> None:
        """Record the keys whose drift is not repaired any more."""
        self._failures.raise_next("unmanage")
        self.unmanaged.update(keys)

    def invalidate(self, keys: Iterable[Key] | None = None) -> None:
        """Do nothing: there is no snapshot."""
        self._failures.raise_next("invalidate")

    def inspect(self, key: Key, state: State | None) -> dict[str, list[dict[str, Any]]]:
        """Return the desired and actual entries; each state has one entry."""
        self._failures.raise_next("inspect")
        name = {"kind": "namespace", "name": " ".join(key), "loopback": True}
        return {"desired": [name] if state else [], "actual": [name] if key in self.states else []}

    def reconcile(self, states: Iterable[tuple[Key, State | None]], *, dry_run: bool = False) -> list[Report]:
        """Store states; remove absent ones."""
        return [self._reconcile(key, state, dry_run) for key, state in states]

    def _reconcile(self, key: Key, state: State | None, dry_run: bool) -> Report:
        if key in self._processing:
            self.collisions.append(key)
        self._processing.add(key)
        try:
            eventlet.sleep(self.delay)
            self._failures.raise_next("reconcile")
        except ApplyError as exc:
            return Report(*key, error=str(exc))
        finally:
            self._processing.discard(key)
        operations = self._plan(key, state)
        if not dry_run:
            self.applied.append((key, state))
            self.unmanaged.discard(key)
            self._store(key, state)
        return Report(*key, operations, timings={"observe": 0.0, "plan": 0.0, "apply": 0.0}, count=len(operations))

    def _plan(self, key: Key, state: State | None) -> tuple[str, ...]:
        if self.states.get(key) == state:
            return ()
        return (f"{'remove' if state is None else 'make'} {' '.join(key)}",)

    def _store(self, key: Key, state: Any) -> None:
        if state is None:
            self.states.pop(key, None)
        else:
            self.states[key] = state
