# SPDX-License-Identifier: Apache-2.0
"""A process that supervises programs, and its client: one JSON request per line on standard input.

The process stands for the data plane: a test kills it and starts another one in the same sandbox.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from l3agent.dataplane.programs.program import Program, from_json, to_json
from l3agent.dataplane.programs.submission import RunProgram, StopProgram
from l3agent.dataplane.programs.supervisor import Supervisor
from l3agent.dataplane.server import privilege
from tests.support.sandbox import Sandbox
from tests.support.waiting import poll

_LIMIT_S = 30.0


class Driver:
    """The client.

    :param folder: the log of the process is there.
    :param root: directory of the programs, inside of the sandbox.
    """

    def __init__(self, sandbox: Sandbox, folder: Path, root: str, *options: str) -> None:
        self.log = folder / "supervisor.log"
        with self.log.open("a") as log:
            self._process = sandbox.popen(
                [sys.executable, "-m", "tests.support.program_driver", root, *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "L3AGENT_SECRET": "of the data plane"},
            )

        # It has adopted the programs, and can be killed.
        self.request(op="statuses")

    def request(self, **request: Any) -> Any:
        """Send a request and return its answer."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, self.log.read_text()[-2000:]
        return json.loads(line)

    def run(self, program: Program, *, waits: bool = True) -> str | None:
        """Submit a program; return the error, once it is done."""
        wire = {"program": to_json(program), "files": dict(program.files)}
        error: str | None = self.request(op="run", waits=waits, **wire)
        return error

    def stop(self, program: Program, *, waits: bool = True) -> str | None:
        """Stop a program; return the error, once it is done."""
        error: str | None = self.request(op="stop", waits=waits, name=program.name, owner=program.owner)
        return error

    def status(self, program: Program) -> dict[str, Any] | None:
        """Return the status of a program, None if there is none."""
        statuses: dict[str, dict[str, Any]] = self.request(op="statuses")
        return statuses.get(program.label)

    def pid(self, program: Program) -> int:
        """Return the process id of a running program, as the sandbox has it."""
        pid: int = self.wait_for(program, "running")["pid"]
        return pid

    def wait_for(self, program: Program, *stages: str) -> dict[str, Any]:
        """Wait for a stage of a program; return its status."""

        def reached() -> dict[str, Any]:
            status = self.status(program) or {}
            return status if status.get("stage") in stages else {}

        return poll(reached, _LIMIT_S)

    def kill(self) -> None:
        """End the process by SIGKILL."""
        self._process.kill()
        self._process.stdin.close()
        self._process.stdout.close()


class _Namespaces:
    def open(self, name: str) -> int | None:
        try:
            return os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None


def _serve(root: str, *, respawns: bool) -> None:
    privilege.drop_capabilities()
    supervisor = Supervisor(root, _Namespaces().open, respawns=respawns)
    supervisor.wait_until_adopted(_LIMIT_S)
    for line in sys.stdin:
        print(json.dumps(_answer(supervisor, json.loads(line))), flush=True)


def _answer(supervisor: Supervisor, request: dict[str, Any]) -> Any:
    match request["op"]:
        case "run":
            operation: RunProgram | StopProgram = RunProgram(from_json(request["program"], request["files"]))
        case "stop":
            owner = request["owner"]
            operation = StopProgram(request["name"], None if owner is None else tuple(owner))
        case "statuses":
            return {
                label: {"stage": one.stage.value, "pid": one.pid, "error": one.error, "restarts": one.restarts}
                for label, one in supervisor.statuses().items()
            }
        case _:
            return [asdict(event) for _, event in supervisor.events()]
    submission = supervisor.submit([operation])
    deadline = time.monotonic() + _LIMIT_S
    while request["waits"] and not submission.done and time.monotonic() < deadline:
        time.sleep(0.002)
    return submission.error if submission.done or not request["waits"] else "not done"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    _serve(sys.argv[1], respawns="--exit" not in sys.argv)
