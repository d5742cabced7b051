# SPDX-License-Identifier: Apache-2.0
"""Client of the data-plane process, for greenthreads: requests multiplexed by id, each with a deadline.

A lost connection fails every request in flight with :class:`~l3agent.exceptions.DataplaneUnavailable`, and the caller
retries. The client reconnects, and restarts the process if it has a ``process``; the kernel state remains meanwhile.

================================  ==================================================
file                              subject
================================  ==================================================
``dataplane_client.py``           operations, and the deadline of each request
``dataplane_requests.py``         requests in flight: ids, answers, errors
``dataplane_connector.py``        keeps a connection: reconnects, notices a new process
``dataplane_hello.py``            the handshake: protocol number, version
``dataplane_connection.py``       one socket and its frames
``dataplane_process.py``          the process as a child of the agent
================================  ==================================================

Review: can a request wait without end? Can a killed greenthread leave half a frame on the socket?
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import eventlet
from oslo_log import log as logging

from l3agent.agent.dataplane_connector import Cause, Connector
from l3agent.agent.dataplane_process import DataplaneProcess
from l3agent.agent.dataplane_requests import PendingRequests
from l3agent.exceptions import DataplaneUnavailable
from l3agent.model.states import Key, Report, State
from l3agent.model.wire import batches, pack_state, unpack_report

LOG = logging.getLogger(__name__)

#: Operations per report; all of them only for a dry run and a debug log.
_LINES = 10


class DataplaneClient:
    """Applies states through the data-plane process.

    :param socket_path: Unix socket of the process.
    :param timeout: deadline of one request, in seconds.
    :param process: started if no process listens; None if another program starts it.
    """

    def __init__(self, socket_path: str, *, timeout: float, process: DataplaneProcess | None = None) -> None:
        self._timeout = timeout
        self._pending = PendingRequests()
        self._connector = Connector(socket_path, timeout=timeout, process=process, pending=self._pending)

    @property
    def connected(self) -> bool:
        """True while a connection exists."""
        return self._connector.connected

    @property
    def cause(self) -> Cause | None:
        """Class of the reason for a missing connection; None while connected."""
        return self._connector.cause

    @property
    def reason(self) -> str | None:
        """Reason for a missing connection, one line; None while connected."""
        return self._connector.reason

    @property
    def pid(self) -> int | None:
        """Process id of the last connected data plane; None before the first."""
        accepted = self._connector.accepted
        return None if accepted is None else accepted.pid

    @property
    def version(self) -> str | None:
        """Version of the data plane that answered last, also of a rejected one; None before the first."""
        return self._connector.version

    def on_new_process(self, callback: Callable[[], None]) -> None:
        """Register a callback, run in a greenthread after a connection to a new data-plane process.

        Requests in flight to the former process may be partly applied, so all states should be applied again.
        """
        self._connector.on_new_process(callback)

    # Life cycle

    def start(self) -> None:
        """Connect, start the process if none listens, and reconnect from now on. Idempotent.

        :raises PermissionMissing: the started process lacks a privilege.
        :raises ConfigError: the started process rejects its configuration.
        """
        self._connector.start()

    def stop(self) -> None:
        """Close the connection and stop the process that this client started. The kernel state remains."""
        self._connector.stop()

    # Requests

    def reconcile(self, states: Iterable[tuple[Key, State | None]], *, dry_run: bool = False) -> list[Report]:
        """Apply states to the kernel; None removes what has the key.

        :param dry_run: plan only.
        :returns: one report per state, in order; a failure is in its ``error``.
        :raises DataplaneUnavailable: no answer.
        """
        lines = {} if dry_run or LOG.isEnabledFor(logging.DEBUG) else {"lines": _LINES}
        reports: list[Report] = []
        for batch in batches(pack_state(key, state) for key, state in states):
            answer = self._request("reconcile", {"states": batch, "dry_run": dry_run, **lines})
            reports += [unpack_report(wire) for wire in answer]
        return reports

    def inventory(self) -> dict[str, list[str]]:
        """Return the ids of all managed namespaces in the kernel, by kind.

        :raises DataplaneUnavailable: no answer.
        """
        return {kind: list(ids) for kind, ids in self._request("inventory", {}).items()}

    def stats(self, timeout: float = 1.0) -> dict[str, Any]:
        """Return the counters of the data-plane process since its start, and the use of its limits.

        :param timeout: seconds; it answers between two requests of workers.
        :raises DataplaneUnavailable: no answer.
        """
        counters: dict[str, Any] = self._request("stats", {}, timeout)
        return counters

    def traffic(self, key: Key) -> dict[str, Any] | None:
        """Return the counters of a namespace; None if it is absent.

        See :mod:`l3agent.dataplane.kernel.traffic_counters`.

        :raises DataplaneUnavailable: no answer.
        :raises ApplyError: the kernel cannot be read.
        """
        found: dict[str, Any] | None = self._request("traffic", {"kind": key[0], "id": key[1]})
        return found

    def unmanage(self, keys: Iterable[Key]) -> None:
        """Stop the drift repair of states; they remain unchanged until they are applied again.

        :raises DataplaneUnavailable: no answer.
        """
        self._request("unmanage", {"keys": list(keys)})

    def invalidate(self, keys: Iterable[Key] | None = None) -> None:
        """Discard the snapshots of states, or of all: the next request for each reads the kernel.

        :raises DataplaneUnavailable: no answer.
        """
        self._request("invalidate", {"keys": None if keys is None else list(keys)})

    def inspect(self, key: Key, state: State | None) -> dict[str, list[dict[str, Any]]]:
        """Return the entries of a state (``desired``) and of the kernel (``actual``), as JSON objects.

        :raises DataplaneUnavailable: no answer.
        :raises ApplyError: the kernel cannot be read.
        """
        found: dict[str, list[dict[str, Any]]] = self._request("inspect", {"state": pack_state(key, state)})
        return found

    def _request(self, operation: str, arguments: dict[str, Any], timeout: float | None = None) -> Any:
        timeout = timeout or self._timeout
        with eventlet.Timeout(timeout) as deadline:
            try:
                self._connector.wait()
                return self._pending.exchange(self._connector.send, operation, arguments)
            except eventlet.Timeout as expired:
                if expired is not deadline:
                    raise
        if not self.connected:
            raise self._connector.unavailable()
        raise DataplaneUnavailable(f"l3-dataplane did not answer {operation} within {timeout:g} s")
