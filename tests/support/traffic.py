# SPDX-License-Identifier: Apache-2.0
"""Real TCP between namespaces of a sandbox."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from l3agent.model.states import NamespaceState
from tests.support import prober
from tests.support.sandbox import Sandbox
from tests.support.states import namespace

PORT = 7
#: Seconds until a connection that must come about is given up; those that must not are given up sooner.
_PATIENCE_S, _IMPATIENCE_S = 20.0, 0.3

#: What stands for it, or the name of its namespace.
Machine = NamespaceState | str


@dataclass
class Connection:
    """An open connection.

    :param seen: the address of the client as the server saw it.
    :param name: the namespace that answered.
    :param own: the address of the client as it saw itself.
    """

    seen: str
    name: str
    own: str
    number: int


class Traffic:
    """Speaks from some namespaces to others; use it as a context manager."""

    def __init__(self, sandbox: Sandbox) -> None:
        script = str(Path(prober.__file__).resolve())
        self._process = sandbox.popen(
            [sys.executable, "-I", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Traffic:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def listen(self, *machines: Machine) -> None:
        """Have machines answer."""
        for machine in machines:
            self._call("listen", namespace=namespace(machine), port=PORT)

    def connect(self, machine: Machine, to: str, *, source: str | None = None) -> Connection:
        """Connect and leave the connection open."""
        answer = self._connect(machine, to, source, _PATIENCE_S)
        assert "error" not in answer, f"{namespace(machine)} to {to}: {answer['error']}"
        return Connection(**answer)

    def reaches(self, machine: Machine, to: str, *, source: str | None = None) -> bool:
        """Tell whether a connection comes about soon."""
        answer = self._connect(machine, to, source, _IMPATIENCE_S)
        if "number" in answer:
            self._call("close", number=answer["number"])
        return "error" not in answer

    def alive(self, connection: Connection) -> bool:
        """Tell whether a connection that should stand does."""
        return bool(self._call("echo", number=connection.number, timeout=_PATIENCE_S))

    def dead(self, connection: Connection) -> bool:
        """Tell whether a connection that should be cut is."""
        return not self._call("echo", number=connection.number, timeout=_IMPATIENCE_S)

    def open_stream(self, machine: Machine, to: str) -> int:
        """Return a UDP stream: all its datagrams have the same ports."""
        return int(self._call("open_stream", namespace=namespace(machine), to=to, port=PORT))

    def exchange(self, stream: int) -> str:
        """Send one datagram of a stream; return the namespace that answers soon, or nothing."""
        return str(self._call("exchange", number=stream, timeout=_IMPATIENCE_S))

    def _connect(self, machine: Machine, to: str, source: str | None, timeout: float) -> Any:
        return self._call("connect", namespace=namespace(machine), to=to, port=PORT, source=source, timeout=timeout)

    def _call(self, call: str, **arguments: object) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        stdin.write(json.dumps({"call": call, **arguments}) + "\n")
        stdin.flush()
        answer = json.loads(stdout.readline())
        assert "failed" not in answer, (call, arguments, answer)
        return answer["result"]
