# SPDX-License-Identifier: Apache-2.0
"""Removes every router, host and network of l3agent from the machine, through operations of the data plane.

It starts a private data-plane process; it blocks and imports no eventlet. It removes only objects that the data plane
recognises as its own: a router without the l3agent table may belong to another agent.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack

from l3agent.exceptions import ConfigError, L3AgentError, PermissionMissing, TransientError
from l3agent.model.names import KINDS
from l3agent.model.states import Key, Report
from l3agent.model.wire import pack_state, unpack_report
from l3agent.ops.control_client import call_agent

_START_S, _REQUEST_S, _SETTLE_S = 15.0, 120.0, 5.0
_CONFIG = """\
[DEFAULT]
state_path = {folder}
{more}
[dataplane]
socket = {socket}
netns_path = {netns_path}
"""


def remove_all(netns_path: str, *, dry_run: bool, options: Sequence[str] = (), driver: str = "") -> list[Report]:
    """Remove all objects of l3agent, or only plan it; return a report for each object with operations or an error.

    :param netns_path: directory in which the namespaces are mounted.
    :param options: arguments that name the configuration, which determines the interface driver.
    :param driver: interface driver that overrides the configuration.
    :raises PermissionMissing: this process lacks the privileges of the data plane.
    :raises TransientError: another data plane serves this directory, or the private one does not answer.
    """
    with private_dataplane(netns_path, options, driver) as dataplane:
        reports = dataplane.remove(dataplane.inventory(), dry_run=dry_run)
        # The kernel deletes a port shortly after its namespace, and only then does its bridge have no ports.
        deadline = time.monotonic() + _SETTLE_S
        while not dry_run and (left := dataplane.inventory()) and time.monotonic() < deadline:
            time.sleep(0.1)
            reports += dataplane.remove(left, dry_run=False)
    return [report for report in reports if report.operations or report.error]


def require_stopped(control_socket: str, dataplane_socket: str) -> None:
    """Check that no agent and no data plane is running.

    :raises L3AgentError: one of them is running.
    """
    with contextlib.suppress(TransientError):
        call_agent(control_socket, {"op": "status"})
        raise L3AgentError(
            f"an l3-agent is running and would build the routers again ({control_socket}); stop it first"
        )
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.connect(dataplane_socket)
        raise L3AgentError(f"an l3-dataplane is running ({dataplane_socket}); stop it first")


class PrivateDataplane:
    """Requests to a data-plane process, one at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(_REQUEST_S)
        self._stream = msgpack.Unpacker(raw=False, max_buffer_size=1 << 30)
        self._ids = itertools.count(1)

    def inventory(self) -> list[Key]:
        """Return the keys of all objects of l3agent, in the order of removal."""
        found = self.request("inventory", {"marked": True})
        return [(kind, state_id) for kind in KINDS for state_id in sorted(found[kind])]

    def remove(self, keys: list[Key], *, dry_run: bool) -> list[Report]:
        """Remove the objects; return one report per object."""
        states = [pack_state(key, None) for key in keys]
        return [unpack_report(wire) for wire in self.request("reconcile", {"states": states, "dry_run": dry_run})]

    def request(self, operation: str, arguments: dict[str, Any]) -> Any:
        """Send a request and return the result of the operation.

        :raises TransientError: the operation failed, or no answer arrived.
        """
        try:
            self._socket.sendall(msgpack.packb((next(self._ids), operation, arguments)))
            _, error, result = self._receive()
        except OSError as exc:
            raise TransientError(f"l3-dataplane gave no answer to {operation}: {exc}") from exc
        if error:
            raise TransientError(f"l3-dataplane: {operation}: {error['message']}")
        return result

    def _receive(self) -> Any:
        while data := self._socket.recv(262144):
            self._stream.feed(data)
            for frame in self._stream:
                return frame
        raise ConnectionError("the process ended")


@contextlib.contextmanager
def private_dataplane(netns_path: str, options: Sequence[str] = (), driver: str = "") -> Iterator[PrivateDataplane]:
    """Run a data-plane process until the end of the ``with`` block.

    :param options: arguments that name a configuration; the paths of this process override it.
    :param driver: interface driver that overrides the configuration.
    """
    with tempfile.TemporaryDirectory(prefix="l3agent-cleanup-") as name:
        folder = Path(name)
        more = f"interface_driver = {driver}" if driver else ""
        path, config, log = folder / "dp.sock", folder / "dp.conf", folder / "dp.log"
        config.write_text(_CONFIG.format(folder=folder, socket=path, netns_path=netns_path, more=more))
        argv = [sys.executable, "-m", "l3agent.cmd.dataplane", *options, "--config-file", str(config)]
        argv.append("--exit-with-client")
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            with _connect(process, path, log) as connection:
                yield PrivateDataplane(connection)
            process.wait(_START_S)
        finally:
            process.kill()
            process.wait()


def _connect(process: subprocess.Popen[bytes], path: Path, log: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            connection.connect(str(path))
            return connection
        except OSError:
            if process.poll() is not None:
                break
        time.sleep(0.02)
    connection.close()
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    raise _EXIT_ERRORS.get(process.returncode, TransientError)(f"l3-dataplane did not start: {lines[-1]}")


#: Exceptions for exit statuses of the data plane (sysexits.h).
_EXIT_ERRORS: dict[int | None, type[L3AgentError]] = {77: PermissionMissing, 78: ConfigError}
