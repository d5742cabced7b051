# SPDX-License-Identifier: Apache-2.0
"""Where the demo plays: a copy of the sample topology, the daemon that serves it, and its hosts as actors."""

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

#: TCP port on which each host greets its callers.
PORT = 7007
_NAMESPACES = Path("/run/netns")
_OPTIONS = """\
[DEFAULT]
host = demo
state_path = {folder}
[standalone]
topology = {topology}
watch_interval = 0.05
"""


class Stage:
    """The sample at work, with all that it writes in ``folder``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.topology_file = folder / "topology.yaml"
        self.topology: dict[str, Any] = yaml.safe_load(sample("topology.yaml").read_text())
        self._write()
        options = folder / "demo.conf"
        options.write_text(_OPTIONS.format(folder=folder, topology=self.topology_file))
        self.daemon = Daemon(folder, [sample("standalone.conf"), options])
        self._actors = ExitStack()
        self._serving: set[str] = set()

    def change(self, edit: Callable[[dict[str, Any]], None]) -> float:
        """Change the topology and replace the file; return the time (monotonic) just before."""
        edit(self.topology)
        since = time.monotonic()
        self._write()
        return since

    def open_hosts(self, timeout: float) -> int:
        """Let each host of the topology greet callers; return how many there are.

        :raises DaemonFailed: the namespace of a host does not appear within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        for host in sorted(set(self.topology["hosts"]) - self._serving):
            while not self.namespace(host).exists():
                if time.monotonic() > deadline:
                    raise DaemonFailed(f"{self.namespace(host)} was not made within {timeout:.0f} s")
                time.sleep(0.01)
            self.act(host, probe.serve, host, PORT).read(timeout)
            self._serving.add(host)
        return len(self._serving)

    def namespace(self, host: str) -> Path:
        """Return where the namespace of a host is pinned."""
        return _NAMESPACES / namespace_name("host", host)

    def router_namespace(self, router_id: str) -> Path:
        """Return where the namespace of a router is pinned."""
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

    def act(self, host: str, work: Callable[..., Any], *arguments: Any) -> probe.Probe:
        """Start a probe on a host; it lives until :meth:`close`."""
        return self._actors.enter_context(probe.Probe(str(self.namespace(host)), work, *arguments))

    def ask(self, host: str, address: str, timeout: float = 2.0) -> dict[str, str]:
        """Call ``address`` from a host; return who answered and whom it saw, or nobody."""
        greeting = probe.once(str(self.namespace(host)), timeout + 3, probe.ask, address, PORT, timeout)
        return greeting or {"server": "nobody", "peer": "nobody"}

    def ping(self, host: str, address: str, count: int = 5, patience: float = 1.0) -> dict[str, Any]:
        """Ping ``address`` from a host; see :func:`l3agent.demo.probe.ping` for the result."""
        return dict(probe.once(str(self.namespace(host)), patience + 5, probe.ping, address, 0.01, count, patience))

    def close(self) -> None:
        """End the probes and the daemon."""
        self._actors.close()
        self.daemon.kill()

    def _write(self) -> None:
        """Replace the file in one step, so that nobody reads half of it."""
        fresh = self.topology_file.with_suffix(".new")
        fresh.write_text(yaml.safe_dump(self.topology, sort_keys=False))
        os.replace(fresh, self.topology_file)
