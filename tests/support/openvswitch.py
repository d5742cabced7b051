# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch in a sandbox, with its datapath in user space, so that no kernel module is needed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from l3agent.testing import wait_until
from tests.support.sandbox import Inside, Sandbox, SandboxError

_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
# In the sandbox's own /run, where all its tools look.
_RUN = "/run/openvswitch"
INTEGRATION_BRIDGE, EXTERNAL_BRIDGE = "br-int", "br-ex"


class OpenVSwitch:
    """ovsdb-server and ovs-vswitchd, and what the L2 agent does with ports."""

    remote = f"unix:{_RUN}/db.sock"

    def __init__(self, sandbox: Sandbox, folder: Path, also: str | None = None) -> None:
        """:param also: another place where the database listens, as in ``ptcp:6640:[::1]``."""
        self._sandbox = sandbox
        self._remotes = [f"p{self.remote}", *([also] if also else [])]
        self._file = folder / "ovs.db"
        self._log = folder / "ovs.log"
        self.database: Inside | None = None
        self.switch: Inside | None = None

    def start(self) -> None:
        """Start both with an integration bridge."""
        self._sandbox.run(["mkdir", "-p", _RUN])
        self._sandbox.run(["ovsdb-tool", "create", str(self._file), _SCHEMA])
        self.start_database()
        self.vsctl("--no-wait", "init")
        self.start_switch()
        self.add_bridge(INTEGRATION_BRIDGE)

    def start_database(self) -> None:
        """Start ovsdb-server and wait until it answers."""
        remotes = [f"--remote={remote}" for remote in self._remotes]
        server = ["ovsdb-server", str(self._file), *remotes, "--no-chdir", "-vconsole:warn"]
        self.database = self._popen(server)
        wait_until(lambda: self._answers("--no-wait", "show"), timeout=20)

    def start_switch(self) -> None:
        """Start ovs-vswitchd."""
        self.switch = self._popen(["ovs-vswitchd", self.remote, "--no-chdir", "-vconsole:warn"])

    def kill_database(self) -> None:
        """End ovsdb-server by SIGKILL."""
        assert self.database is not None
        self.database.kill()

    def kill_switch(self) -> None:
        """End ovs-vswitchd by SIGKILL."""
        assert self.switch is not None
        self.switch.kill()

    def add_bridge(self, name: str) -> None:
        """Make a bridge and wait for it."""
        self.vsctl("--may-exist", "add-br", name, "--", "set", "Bridge", name, "datapath_type=netdev")

    def vsctl(self, *arguments: str) -> str:
        """Run ``ovs-vsctl``.

        :raises SandboxError: it failed.
        """
        return self._sandbox.run(["ovs-vsctl", "--timeout=15", *arguments])

    def ports(self, bridge: str = INTEGRATION_BRIDGE) -> set[str]:
        """Return the names of the ports of a bridge."""
        return set(self.vsctl("list-ports", bridge).split())

    def row(self, table: str, name: str) -> dict[str, Any]:
        """Return a row; sets and maps as in Python."""
        listed = json.loads(self.vsctl("--format=json", "list", table, name))
        return dict(zip(listed["headings"], map(_value, listed["data"][0]), strict=True))

    def wire(self, name: str, vlan: int = 1) -> None:
        """Do what the L2 agent does with a port that it was told of."""
        self.vsctl("set", "Port", name, f"tag={vlan}", "--", "clear", "Port", name, "vlan_mode", "trunks")

    def _popen(self, command: list[str]) -> Inside:
        with self._log.open("ab") as log:
            return self._sandbox.popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _answers(self, *arguments: str) -> bool:
        try:
            self.vsctl(*arguments)
        except SandboxError:
            return False
        return True


def _value(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    kind, content = value
    if kind == "map":
        return dict(content)
    return [_value(one) for one in content] if kind == "set" else content
