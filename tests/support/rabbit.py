# SPDX-License-Identifier: Apache-2.0
"""A private RabbitMQ node with its own ports, files, cookie and epmd; the broker of the machine is not affected."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import amqp
import eventlet

from tests.support.sandbox import Sandbox, end_group, kill_family

# The scripts themselves: the one in /usr/sbin changes to the user and the folders of the machine's broker.
SCRIPTS = Path("/usr/lib/rabbitmq/bin")
# A program, since a socket of this process does not reach into a sandbox.
_HELLO = r"exec 3<> /dev/tcp/$1/$0 && printf 'AMQP\0\0\t\1' >&3 && head -c 1 <&3"


class Rabbit:
    """One node. It may be stopped, killed and started again, and keeps its port.

    :param sandbox: where it runs; without one, on the loopback of the machine.
    :param address: of the loopback, where it listens.
    """

    def __init__(self, folder: Path, sandbox: Sandbox | None = None, address: str = "127.0.0.1") -> None:
        self.folder = folder
        self._entered = sandbox.argv if sandbox else list[str]
        self.port, self._dist_port, epmd_port = free_ports(3)
        self._node = f"l3agent-{os.getpid()}@localhost"
        self._address = address
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.default = {address}:{self.port}\n")
        (folder / "enabled_plugins").write_text("[].\n")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "generated"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # Few schedulers without busy waiting, since other tests need the CPU.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
        }
        self._epmd = subprocess.Popen(
            self._entered(["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"]),
            env=self._environment,
            start_new_session=True,
            **_silent(),
        )
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the transport URL of the node."""
        host = f"[{self._address}]" if ":" in self._address else self._address
        return f"rabbit://guest:guest@{host}:{self.port}/"

    @property
    def running(self) -> bool:
        """Return True if the node was started and is alive."""
        return self._server is not None and self._server.poll() is None

    def start(self, timeout: float = 120) -> None:
        """Start the node and wait until it speaks AMQP."""
        assert not self.running, "the node runs"
        # A session of its own, so that one signal reaches the shell and the virtual machine under it.
        self._server = subprocess.Popen(
            self._entered([str(SCRIPTS / "rabbitmq-server")]),
            env=self._environment,
            start_new_session=True,
            **_silent(),
        )
        try:
            with eventlet.Timeout(timeout):
                while not self._speaks_amqp():
                    if self._server.poll() is not None:
                        raise RuntimeError(f"rabbitmq-server ended: {self._last_log_lines()}")
                    eventlet.sleep(0.1)
        except eventlet.Timeout as exc:
            raise RuntimeError(f"rabbitmq-server not ready after {timeout} s: {self._last_log_lines()}") from exc

    def purge(self, *queues: str) -> None:
        """Delete the messages of queues: calls of agents that were killed before a server answered."""
        with amqp.Connection(f"{self._address}:{self.port}", connect_timeout=30) as connection:
            for queue in queues:
                # A refusal closes the channel.
                with suppress(amqp.NotFound):
                    connection.channel().queue_purge(queue)

    def stop(self, timeout: float = 60) -> None:
        """Stop the node in an orderly way, as an operator does."""
        end_group(self._started(), timeout)
        self._server = None

    def kill(self) -> None:
        """Kill the node with SIGKILL."""
        kill_family(self._started())
        self._server = None

    def close(self) -> None:
        """End all processes started by this object."""
        if self._server is not None:
            self.kill()
        kill_family(self._epmd)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._server is not None, "the node does not run"
        return self._server

    def _speaks_amqp(self) -> bool:
        """Send the protocol header of AMQP 0-9-1; a node that is ready answers with a method frame (type 1)."""
        # No timeout of ``run``: under monkey patching it raises another TimeoutExpired than the one imported here.
        hello = ["timeout", "2", "bash", "-c", _HELLO, str(self.port), self._address]
        answer = subprocess.run(self._entered(hello), capture_output=True, check=False)
        return answer.stdout == b"\x01"

    def _last_log_lines(self) -> str:
        logs = sorted((self.folder / "log").glob("*.log"))
        return " | ".join(line for log in logs for line in log.read_text(errors="replace").splitlines()[-5:])


def free_ports(count: int) -> list[int]:
    """Return unused TCP ports of the loopback."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def _silent() -> dict[str, Any]:
    return {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
