# SPDX-License-Identifier: Apache-2.0
"""The bed: everything that a node and its server need, started in order in a sandbox, and ended in the opposite one."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import eventlet

from tests.neutron.database import Database
from tests.neutron.files import Deployment
from tests.neutron.openvswitch import EXTERNAL_BRIDGE, PHYSICAL_NETWORK, OpenVSwitch
from tests.neutron.programs import Program, neutron_venv
from tests.neutron.rest import Rest
from tests.neutron.servers import Neutron, l2_agent
from tests.support.rabbit import Rabbit
from tests.support.sandbox import Sandbox
from tests.support.waiting import poll

HOST = "node1"
_ALIVE_S = 240


class Bed:
    """A running neutron-server with broker, database, Open vSwitch and L2 agent, all in one sandbox.

    :param sandbox: the machine that all of it is on.
    :param folder: state, logs and configuration files; a short path.
    """

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.rabbit = Rabbit(_made(folder / "rabbit"), sandbox)
        self.database = Database(sandbox, folder)
        self.ovs = OpenVSwitch(sandbox, folder)
        self.deployment = Deployment(
            host=HOST,
            state_path=_made(folder / "state"),
            venv=neutron_venv(),
            transport_url=self.rabbit.url,
            database_url=self.database.url,
            ovsdb=self.ovs.ovsdb,
            physical_network=PHYSICAL_NETWORK,
            external_bridge=EXTERNAL_BRIDGE,
            interface_driver="openvswitch",
        )
        self.neutron = Neutron(sandbox, folder, self.deployment)
        self.l2_agent = l2_agent(sandbox, folder, self.deployment)
        #: Seconds that each step of the start took.
        self.took: dict[str, float] = {}

    @property
    def rest(self) -> Rest:
        """The API."""
        return self.neutron.rest

    def start(self) -> None:
        """Start everything; at the end the API answers and the L2 agent is alive."""
        # Two at a time: each of them mostly waits.
        switch_and_broker = eventlet.spawn(self._take, openvswitch=self.ovs.start, rabbitmq=self.rabbit.start)
        self._take(mariadb=self.database.start, migrations=self.neutron.migrate)
        switch_and_broker.wait()
        self._take(servers=self.neutron.start, l2_agent=self._start_l2_agent)

    def kill(self) -> None:
        """End everything that was started. All state is thrown away, so nobody has to be asked kindly."""
        for end in (self.l2_agent.kill, self.neutron.kill, self.ovs.kill, self.database.program.kill):
            end()
        self.rabbit.close()

    def _take(self, **steps: Callable[[], object]) -> None:
        for name, step in steps.items():
            started = time.monotonic()
            step()
            self.took[name] = round(time.monotonic() - started, 1)

    def agent_row(self, binary: str) -> dict[str, Any] | None:
        """Return the row that the server has of an agent of this host, None when it has none."""
        rows = self.rest.list("agents", binary=binary, host=HOST)
        return rows[0] if rows else None

    def wait_alive(self, binary: str, program: Program | None = None, timeout: float = _ALIVE_S) -> dict[str, Any]:
        """Wait until the server calls an agent alive."""

        def alive() -> dict[str, Any] | None:
            if program is not None:
                program.must_run()
            row = self.agent_row(binary)
            return row if row and row["alive"] else None

        return poll(alive, timeout)

    def _start_l2_agent(self) -> None:
        self.l2_agent.start()
        self.wait_alive("neutron-openvswitch-agent", self.l2_agent)


@contextlib.contextmanager
def running_bed() -> Iterator[Bed]:
    """A bed for the time of a block; its folder goes with it."""
    with tempfile.TemporaryDirectory(prefix="l3-", ignore_cleanup_errors=True) as folder, Sandbox() as sandbox:
        bed = Bed(sandbox, Path(folder))
        try:
            bed.start()
            yield bed
        finally:
            bed.kill()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
