# SPDX-License-Identifier: Apache-2.0
"""The real programs as child processes: ``l3-dataplane`` in a sandbox, ``l3-agent`` beside it.

The agent stays in the network namespace of the machine, where the broker is; only the data plane is in the sandbox.
The unix socket between them is a file, and files cross network namespaces.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import msgpack

from l3agent.exceptions import TransientError
from l3agent.model.states import Key, Report, RouterState, State
from l3agent.model.wire import pack_state, unpack_report
from l3agent.ops.control_client import CONTROL_SOCKET, call_agent
from tests.support.sandbox import Inside, Sandbox
from tests.support.states import only_namespace
from tests.support.waiting import poll

#: Where the console scripts of this environment are.
SCRIPTS = Path(sysconfig.get_path("scripts"))

Options = Mapping[str, Mapping[str, object]]


def write_conf(path: Path, options: Options) -> Path:
    """Write an oslo.config file from options by group, with the driver that needs no L2 agent unless one is named."""
    options = {**options, "DEFAULT": {"interface_driver": "bridge", **options.get("DEFAULT", {})}}
    sections = (
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in members.items())
        for group, members in options.items()
    )
    path.write_text("\n".join(sections))
    return path


class Dataplane:
    """``l3-dataplane`` in a sandbox and a plain client of its socket. It takes hosts, as it is told of a topology file.

    :param folder: where its socket, configuration and log are; a short path, for a socket's has at most 107 bytes.
    :param groups: options of other groups.
    :param options: more of the group ``dataplane``.
    """

    def __init__(self, sandbox: Sandbox, folder: Path, groups: Options | None = None, **options: object) -> None:
        self.sandbox = sandbox
        self.log = folder / "l3-dataplane.log"
        self.socket_path = folder / "dp.sock"
        self.conf = write_conf(
            folder / "dataplane.conf",
            {
                "standalone": {"topology": folder / "topology.yaml"},
                **(groups or {}),
                "DEFAULT": {"state_path": folder, **(groups or {}).get("DEFAULT", {})},
                "dataplane": {"socket": self.socket_path, "announce_interval": 0.1, **options},
            },
        )
        self._process: Inside | None = None
        self._client: socket.socket | None = None
        self._frames = msgpack.Unpacker(raw=False)
        self._answers: dict[int, tuple[Any, Any]] = {}
        self._ids = itertools.count(1)

    @property
    def pid(self) -> int:
        """Process id as seen from here."""
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while it runs."""
        assert self._process is not None
        return self._process.entrance.poll()

    def start(self, *prefix: str) -> None:
        """Start the process, under a command that starts others, and wait until it listens."""
        with self.log.open("ab") as log:
            argv = [*prefix, str(SCRIPTS / "l3-dataplane"), "--config-file", str(self.conf)]
            self._process = self.sandbox.popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        # In a guest, beside other tests, the start takes more than a minute.
        poll(self._listens, timeout=240)

    def name_nics(self, *names: str) -> None:
        """Write a topology file of root that names NICs, one for each external network."""
        networks = {
            f"n{at}": {"external": {"interface": name}, "subnets": {f"s{at}": {"cidr": f"198.51.{at}.0/24"}}}
            for at, name in enumerate(names)
        }
        (self.conf.parent / "topology.yaml").write_text(json.dumps({"networks": networks}))

    def paused(self) -> AbstractContextManager[None]:
        """Have the process stand still for the time of a block."""
        assert self._process is not None
        return self._process.paused()

    def kill(self) -> None:
        """End the process by SIGKILL."""
        self.hang_up()
        assert self._process is not None
        self._process.kill()

    def stop(self) -> int:
        """End the process by SIGTERM; return its exit status."""
        self.hang_up()
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait()

    def _listens(self) -> bool:
        if self.status is not None:
            raise RuntimeError(f"l3-dataplane ended with status {self.status}: {last_lines(self.log)}")
        try:
            with socket.socket(socket.AF_UNIX) as trial:
                trial.connect(str(self.socket_path))
        except OSError:
            return False
        return True

    # The client: one at a time, so hang up before an agent comes.

    def reconcile(self, *states: tuple[Key, State | RouterState | None], dry_run: bool = False) -> list[Report]:
        """Bring states to the kernel; a router stands for its only namespace."""
        packed = [
            pack_state(key, only_namespace(state) if isinstance(state, RouterState) else state) for key, state in states
        ]
        return [unpack_report(wire) for wire in self.request("reconcile", {"states": packed, "dry_run": dry_run})]

    def request(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Send one request and return its result."""
        return self.answer(self.send(operation, arguments))

    def send(self, operation: str, arguments: Mapping[str, Any]) -> int:
        """Send one request and return its number."""
        if self._client is None:
            self._client = socket.socket(socket.AF_UNIX)
            self._client.settimeout(60)
            self._client.connect(str(self.socket_path))
        number = next(self._ids)
        self._client.sendall(msgpack.packb([number, operation, dict(arguments)]))
        return number

    def has_answer(self, number: int) -> bool:
        """Return True if the answer to a request came before that to another one."""
        return number in self._answers

    def answer(self, number: int) -> Any:
        """Return the result of a request; others may be answered before."""
        assert self._client is not None
        while number not in self._answers:
            received = self._client.recv(1 << 20)
            if not received:
                raise EOFError("the data plane hung up")
            self._frames.feed(received)
            self._answers |= {answered: (error, result) for answered, error, result in self._frames}
        error, result = self._answers.pop(number)
        assert error is None, (number, error)
        return result

    def hang_up(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
        self._client, self._frames, self._answers = None, msgpack.Unpacker(raw=False), {}


@contextlib.contextmanager
def a_machine(**options: Any) -> Iterator[Dataplane]:
    """Have a running data plane in a sandbox of its own."""
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    try:
        with Sandbox() as sandbox:
            dataplane = Dataplane(sandbox, folder, **options)
            dataplane.start()
            yield dataplane
            dataplane.hang_up()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Agent:
    """The console script ``l3-agent`` with a configuration made from ``options``."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.log = folder / "l3-agent.log"
        self._socket_path = str(folder / CONTROL_SOCKET)
        self._conf = write_conf(folder / "l3-agent.conf", options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process; it is not in sync yet."""
        with self.log.open("ab") as log:
            argv = [str(SCRIPTS / "l3-agent"), "--config-file", str(self._conf)]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ask(self, operation: str, **arguments: object) -> dict[str, Any]:
        """Ask the control socket."""
        return call_agent(self._socket_path, {"op": operation, **arguments})

    def status(self) -> dict[str, Any]:
        """Return the status; an empty map while the socket is not there yet."""
        try:
            return self.ask("status")
        except TransientError:
            if self._process is not None and (status := self._process.poll()) is not None:
                raise RuntimeError(f"l3-agent ended with status {status}: {last_lines(self.log)}") from None
            return {}

    def wait_in_sync(self, timeout: float = 30) -> dict[str, Any]:
        """Wait for a complete full sync with nothing left to do and return the status."""
        return self.wait_for(_in_sync, timeout)

    def wait_for(self, reached: Any, timeout: float = 30) -> dict[str, Any]:
        """Wait until ``reached(status)`` holds and return that status.

        :raises AssertionError: it did not within ``timeout`` seconds; the message has the status and the log.
        """
        last: dict[str, Any] = {}

        def look() -> bool:
            nonlocal last
            last = self.status()
            return bool(last) and bool(reached(last))

        try:
            poll(look, timeout=timeout)
        except Exception as exc:
            raise AssertionError(f"not reached in {timeout} s; status {last}; log: {last_lines(self.log)}") from exc
        return last

    def end(self, number: signal.Signals = signal.SIGTERM, timeout: float = 15) -> int:
        """End the process by a signal; return its exit status."""
        assert self._process is not None
        if self._process.poll() is None:
            os.kill(self._process.pid, number)
        return self._process.wait(timeout)

    def wait_for_end(self, timeout: float = 15) -> int:
        """Wait until the process ends by itself; return its exit status."""
        assert self._process is not None
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End the process by SIGKILL."""
        self.end(signal.SIGKILL)


def _in_sync(status: dict[str, Any]) -> bool:
    return bool(status["in_sync"]) and not any(status["queue"].values()) and bool(status["dataplane"]["connected"])


def last_lines(log: Path, count: int = 20) -> str:
    """Return the end of a log for a message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-count:]) if log.exists() else "no log"
