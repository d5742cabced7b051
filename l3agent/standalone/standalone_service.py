# SPDX-License-Identifier: Apache-2.0
"""The standalone server as a service: serves agents over RPC, follows the topology file, applies simulated hosts.

In the process of the agent it uses ``local://`` and the data plane of the agent; as a separate process it uses
``rabbit://`` and applies no hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oslo_log import log as logging

from l3agent.rpc import Connection
from l3agent.service import ThreadGroup
from l3agent.standalone.bindings import BindingsFile
from l3agent.standalone.endpoints import L3_TOPIC, REPORTS_TOPIC, L3Endpoint, ReportsEndpoint
from l3agent.standalone.entities import Topology
from l3agent.standalone.faults import NO_FAULTS, Faults
from l3agent.standalone.hosts import HostDataplane, SimulatedHosts
from l3agent.standalone.l3_plugin import Plugin
from l3agent.standalone.notifier import Notifier
from l3agent.standalone.watch import TopologyWatch

LOG = logging.getLogger(__name__)

_SAVE_INTERVAL_S = 1.0


class StandaloneService:
    """Serves a topology file; run by ``Services`` or ``launch``.

    :param transport: from :func:`l3agent.rpc.get_transport`.
    :param path: the topology file.
    :param dataplane: applies the hosts of the file; None: they are not applied.
    :param watch_interval: seconds between two checks of the file.
    :param host: name of this server on the broker.
    :param bindings: file for the bindings of routers to agents; None: none.
    :param faults: faults to inject.
    :raises ConfigError: the file is invalid.
    """

    binary = "l3agent-standalone"

    def __init__(
        self,
        transport: Any,
        path: str | Path,
        *,
        dataplane: HostDataplane | None = None,
        watch_interval: float = 1.0,
        host: str = "standalone",
        bindings: BindingsFile | None = None,
        faults: Faults = NO_FAULTS,
    ) -> None:
        self.tg = ThreadGroup()
        self._path = Path(path)
        self._transport = transport
        self._host = host
        self._bindings = bindings
        self._faults = faults
        self._watch = TopologyWatch(self._path, watch_interval, self._replace)
        topology = self._watch.load_first()
        self.plugin = Plugin(topology, bindings=bindings.read() if bindings else None)
        self._notifier = Notifier(transport, drops_cast=faults.drops_cast)
        self._hosts = SimulatedHosts(dataplane, topology) if dataplane is not None else None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Start to consume calls of agents, then to follow the file."""
        self._connection = Connection(self._transport, host=self._host)
        self._connection.create_consumer(REPORTS_TOPIC, [self._faults.wrap(ReportsEndpoint(self.plugin))])
        self._connection.create_consumer(L3_TOPIC, [self._faults.wrap(L3Endpoint(self.plugin))])
        self._connection.consume_in_threads()
        for task in (self._watch, self._notifier, self._hosts):
            if task is not None:
                self.tg.add_thread(task.run)
        if self._bindings is not None:
            self.tg.add_timer(_SAVE_INTERVAL_S, self._save)
        topology = self.plugin.topology
        LOG.info("%s: %d routers, %d hosts", self._path, len(topology.routers), len(topology.hosts))

    def stop(self) -> None:
        """Stop consuming calls and following the file; the kernel is not changed. Safe before :meth:`start`."""
        self.tg.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._save()

    def wait(self) -> None:
        """Wait until all threads have ended."""
        self.tg.wait()

    def reset(self) -> None:
        """Reload the file now."""
        self._watch.request_reload()

    def _replace(self, topology: Topology) -> None:
        changes = self.plugin.replace(topology)
        self._notifier.add(changes)
        if self._hosts is not None:
            self._hosts.replace(topology)
        LOG.info(
            "%s: reloaded, %d routers changed or deleted", self._path, len({change.router_id for change in changes})
        )

    def _save(self) -> None:
        if self._bindings is not None:
            self._bindings.save(self.plugin.bindings)
