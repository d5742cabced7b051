# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch with the datapath in user space: no kernel module; ports are tap devices that move into namespaces.

Throughput says nothing then, behaviour does.
"""

from __future__ import annotations

from pathlib import Path

from tests.neutron.programs import Program
from tests.support.sandbox import Sandbox, SandboxError

#: The bridge that leads outside, and the name Neutron has for the network behind it.
EXTERNAL_BRIDGE, PHYSICAL_NETWORK = "br-ex", "physnet1"
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
# In the sandbox's own /run, where all its tools look.
_RUN = "/run/openvswitch"
_OVSDB = f"unix:{_RUN}/db.sock"


class OpenVSwitch:
    """ovsdb-server and ovs-vswitchd; OVSDB also listens where Neutron's agents look."""

    ovsdb = "tcp:127.0.0.1:6640"

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self._sandbox = sandbox
        self._file = folder / "ovs.db"
        remotes = [f"--remote=p{_OVSDB}", "--remote=ptcp:6640:127.0.0.1"]
        server = ["ovsdb-server", str(self._file), *remotes, "--no-chdir", "-vconsole:info"]
        switch = ["ovs-vswitchd", _OVSDB, "--no-chdir", "-vconsole:info"]
        self.database = Program("ovsdb-server", server, sandbox=sandbox, folder=folder)
        self.switch = Program("ovs-vswitchd", switch, sandbox=sandbox, folder=folder)

    def start(self) -> None:
        """Start both, and make the bridge that leads outside."""
        self._sandbox.run(["mkdir", "-p", _RUN])
        if not self._file.exists():
            self._sandbox.run(["ovsdb-tool", "create", str(self._file), _SCHEMA])
        self.database.start(ready=lambda: self._answers("--no-wait", "init"))
        self.switch.start()
        bridge = ["--may-exist", "add-br", EXTERNAL_BRIDGE, "--", "set", "bridge", EXTERNAL_BRIDGE]
        self.vsctl(*bridge, "datapath_type=netdev")

    def kill(self) -> None:
        """End both by SIGKILL."""
        self.switch.kill()
        self.database.kill()

    def vsctl(self, *arguments: str) -> str:
        """Run ``ovs-vsctl``.

        :raises SandboxError: it failed.
        """
        return self._sandbox.run(["ovs-vsctl", "--timeout=15", *arguments])

    def _answers(self, *arguments: str) -> bool:
        try:
            self.vsctl(*arguments)
        except SandboxError:
            return False
        return True
