# SPDX-License-Identifier: Apache-2.0
"""The real Neutron programs: API server, RPC server, and agents."""

from __future__ import annotations

from pathlib import Path

from tests.neutron.files import Deployment
from tests.neutron.programs import Program
from tests.neutron.rest import ApiError, Rest
from tests.support.sandbox import Sandbox

_MIGRATION_S = 300
# Neutron reads the arguments of the process that it is served by: gunicorn's must not be among them.
_GUNICORN = """
wsgi_app = "neutron.wsgi.api:application"
bind = "unix:{socket}"
workers = 1
worker_class = "gthread"
threads = 8
timeout = 300
control_socket_disable = True
"""


class Neutron:
    """All of Neutron but the agents, from one set of files."""

    def __init__(self, sandbox: Sandbox, folder: Path, deployment: Deployment) -> None:
        self._sandbox = sandbox
        self._programs = deployment.venv / "bin"
        self._arguments = deployment.write(folder / "etc-server", "neutron.conf", "ml2_conf.ini")
        socket_path = folder / "api.sock"
        (folder / "gunicorn.conf.py").write_text(_GUNICORN.format(socket=socket_path))
        files = ";".join(argument.removeprefix("--config-file=") for argument in self._arguments)
        self.rest = Rest(socket_path)
        self.api = Program(
            "neutron-api",
            [str(self._programs / "gunicorn")],
            sandbox=sandbox,
            folder=folder,
            environment={
                "OS_NEUTRON_CONFIG_FILES": files,
                "GUNICORN_CMD_ARGS": f"--config={folder / 'gunicorn.conf.py'}",
            },
        )
        rpc = [str(self._programs / "neutron-rpc-server"), *self._arguments]
        self.rpc = Program("neutron-rpc-server", rpc, sandbox=sandbox, folder=folder)

    def migrate(self) -> None:
        """Make the tables, or bring them up to date."""
        migration = [str(self._programs / "neutron-db-manage"), *self._arguments, "upgrade", "heads"]
        self._sandbox.run(migration, timeout=_MIGRATION_S)

    def start(self) -> None:
        """Start both servers; the RPC server is ready when it answers an agent, not before."""
        self.rpc.start()
        self.api.start(ready=self.answers, timeout=300)

    def kill(self) -> None:
        """End both servers by SIGKILL."""
        self.api.kill()
        self.rpc.kill()

    def answers(self) -> bool:
        """Tell whether the API, with the database behind it, answers."""
        try:
            self.rest.list("networks")
        except (OSError, ApiError):
            return False
        return True


def l2_agent(sandbox: Sandbox, folder: Path, deployment: Deployment) -> Program:
    """Return Neutron's Open vSwitch agent; without one that lives, the server binds no port of the host."""
    return agent("neutron-openvswitch-agent", "openvswitch_agent.ini", sandbox, folder, deployment)


def agent(name: str, own_file: str, sandbox: Sandbox, folder: Path, deployment: Deployment) -> Program:
    """Return one of Neutron's agents, with the file of the node and one of its own."""
    programs = deployment.venv / "bin"
    arguments = deployment.write(folder / f"etc-{name}", "neutron.conf", own_file)
    # Its privileged helper is looked up by name.
    path = f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin"
    argv = [str(programs / name), *arguments]
    return Program(name, argv, sandbox=sandbox, folder=folder, environment={"PATH": path})
