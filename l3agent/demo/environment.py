# SPDX-License-Identifier: Apache-2.0
"""The environment of the demo: a copy of the sample topology, the daemon that serves it, and probes on its hosts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import yaml

from l3agent.demo import probe
from l3agent.demo.daemon import Daemon, DaemonFailed
from l3agent.demo.samples import sample
from l3agent.model.names import namespace_name

#: TCP port of the server on each host.
PORT = 7007
#: Server and peer of a connection that was not established.
NO_ANSWER = "no answer"
_NAMESPACES = Path("/run/netns")
_OPTIONS = """\
[DEFAULT]
host = demo
state_path = {folder}
[standalone]
topology = {topology}
watch_interval = 0.05
"""


class Environment:
    """The running sample topology.

    :param folder: for the topology file, the configuration, the log and the state of the agent.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.topology_file = folder / "topology.yaml"
        self.topology: dict[str, Any] = yaml.safe_load(sample("topology.yaml").read_text())
        self._write_topology()
        options = folder / "demo.conf"
        options.write_text(_OPTIONS.format(folder=folder, topology=self.topology_file))
        self.daemon = Daemon(folder, [sample("standalone.conf"), options])
        self._probes = ExitStack()
        self._servers: set[str] = set()

    def edit_topology(self, edit: Callable[[dict[str, Any]], None]) -> float:
        """Apply ``edit`` to the topology and replace the file; return the time (monotonic) just before."""
        edit(self.topology)
        since = time.monotonic()
        self._write_topology()
        return since

    def start_servers(self, timeout: float) -> int:
        """Start a TCP server on each host that has none yet; return the number of servers.

        :raises DaemonFailed: the namespace of a host does not appear within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        for host in sorted(set(self.topology["hosts"]) - self._servers):
            while not self.host_namespace(host).exists():
                if time.monotonic() > deadline:
                    raise DaemonFailed(f"{self.host_namespace(host)} does not exist after {timeout:.0f} s")
                time.sleep(0.01)
            self.start_probe(host, probe.serve, host, PORT).read(timeout)
            self._servers.add(host)
        return len(self._servers)

    def host_namespace(self, host: str) -> Path:
        """Return the path where the namespace of a host is pinned."""
        return _NAMESPACES / namespace_name("host", host)

    def router_namespace(self, router_id: str) -> Path:
        """Return the path where the namespace of a router is pinned."""
        return _NAMESPACES / namespace_name("router", router_id)

    def address(self, host: str, version: int = 4) -> str:
        """Return the first address of a host in IPv4 or IPv6."""
        addresses = (ip_interface(text).ip for text in self.topology["hosts"][host]["addresses"])
        return next(str(address) for address in addresses if address.version == version)

    def gateway(self, router: str) -> str:
        """Return the first gateway address of a router."""
        return str(self.topology["routers"][router]["gateway"]["addresses"][0])

    def floating_ip(self, router: str) -> str:
        """Return the first floating IP of a router."""
        return str(next(iter(self.topology["routers"][router]["floating_ips"])))

    def start_probe(self, host: str, function: Callable[..., Any], *arguments: Any) -> probe.Probe:
        """Start a probe on a host; it runs until :meth:`close` at the latest."""
        return self._probes.enter_context(probe.Probe(str(self.host_namespace(host)), function, *arguments))

    def connect(self, host: str, address: str, timeout: float = 2.0) -> dict[str, str]:
        """Connect to ``address`` from a host.

        :returns: ``server`` (name of the host that answered) and ``peer`` (source address that the server received);
            both are :data:`NO_ANSWER` if ``timeout`` seconds pass without a connection.
        """
        greeting = probe.run(str(self.host_namespace(host)), timeout + 3, probe.connect, address, PORT, timeout)
        return greeting or {"server": NO_ANSWER, "peer": NO_ANSWER}

    def ping(self, host: str, address: str, count: int = 5, patience: float = 1.0) -> dict[str, Any]:
        """Ping ``address`` from a host; see :func:`l3agent.demo.probe.ping` for the result."""
        return dict(probe.run(str(self.host_namespace(host)), patience + 5, probe.ping, address, 0.01, count, patience))

    def close(self) -> None:
        """End the probes and the daemon."""
        self._probes.close()
        self.daemon.kill()

    def _write_topology(self) -> None:
        """Replace the file atomically, so that the daemon cannot read a part of it."""
        draft = self.topology_file.with_suffix(".new")
        draft.write_text(yaml.safe_dump(self.topology, sort_keys=False))
        os.replace(draft, self.topology_file)
