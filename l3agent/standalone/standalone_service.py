# SPDX-License-Identifier: Apache-2.0
"""The standalone server as a service: consumes what agents ask, follows the file, tells the agents, keeps the hosts.

In the agent's process it works over ``local://`` and has the data plane; as a process of its own over ``rabbit://``,
without hosts.
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
from l3agent.standalone.faults import NONE, Faults
from l3agent.standalone.hosts import Dataplane, Hosts
from l3agent.standalone.l3_plugin import Plugin
from l3agent.standalone.notifier import Notifier
from l3agent.standalone.watch import TopologyWatch

LOG = logging.getLogger(__name__)

_SAVE_INTERVAL_S = 1.0


class PluginService:
    """Serves a topology file; to be run by ``Services`` or ``launch``.

    :param transport: from :func:`l3agent.rpc.get_transport`.
    :param path: the topology file.
    :param dataplane: where the hosts of the file are made; None: they are not made.
    :param watch_interval: seconds between two looks at the file.
    :param host: name of this server on the broker.
    :param bindings: where it is kept which agent has which router; None: nowhere.
    :param faults: what goes wrong on purpose.
    :raises ConfigError: the file is bad.
    """

    binary = "l3agent-standalone"

    def __init__(
        self,
        transport: Any,
        path: str | Path,
        *,
        dataplane: Dataplane | None = None,
        watch_interval: float = 1.0,
        host: str = "standalone",
        bindings: BindingsFile | None = None,
        faults: Faults = NONE,
    ) -> None:
        self.tg = ThreadGroup()
        self._path = Path(path)
        self._transport = transport
        self._host = host
        self._bindings = bindings
        self._faults = faults
        self._watch = TopologyWatch(self._path, watch_interval, self._replace)
        topology = self._watch.read_first()
        self.plugin = Plugin(topology, bindings=bindings.read() if bindings else None)
        self._notifier = Notifier(transport, loses=faults.loses)
        self._hosts = Hosts(dataplane, topology) if dataplane is not None else None
        self._connection: Connection | None = None

    def start(self) -> None:
        """Answer the agents, then follow the file."""
        self._connection = Connection(self._transport, host=self._host)
        self._connection.create_consumer(REPORTS_TOPIC, [self._faults.spoiled(ReportsEndpoint(self.plugin))])
        self._connection.create_consumer(L3_TOPIC, [self._faults.spoiled(L3Endpoint(self.plugin))])
        self._connection.consume_in_threads()
        for work in (self._watch, self._notifier, self._hosts):
            if work is not None:
                self.tg.add_thread(work.run)
        if self._bindings is not None:
            self.tg.add_timer(_SAVE_INTERVAL_S, self._save)
        topology = self.plugin.topology
        LOG.info("%s: %d routers, %d hosts", self._path, len(topology.routers), len(topology.hosts))

    def stop(self) -> None:
        """Stop answering and following; what is in the kernel stays. Safe before :meth:`start`."""
        self.tg.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._save()

    def wait(self) -> None:
        """Wait until all threads have ended."""
        self.tg.wait()

    def reset(self) -> None:
        """Read the file again now."""
        self._watch.read_again()

    def _replace(self, topology: Topology) -> None:
        changes = self.plugin.replace(topology)
        self._notifier.add(changes)
        if self._hosts is not None:
            self._hosts.replace(topology)
        LOG.info("%s: read again, %d routers changed or left", self._path, len({one.router_id for one in changes}))

    def _save(self) -> None:
        if self._bindings is not None:
            self._bindings.save(self.plugin.bindings)
