# SPDX-License-Identifier: Apache-2.0
"""Neutron's programs: installed once into an environment of their own, and started in the sandbox."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.processes import last_lines
from tests.support.sandbox import Sandbox, children, kill_family
from tests.support.waiting import poll

NEUTRON = "neutron==29.0.0"
_CONSTRAINTS = Path(__file__).with_name("constraints.txt")
#: tox names its own work folder; without tox it is the one that tox would use.
_WORK = Path(os.environ.get("L3AGENT_NEUTRON_WORK", Path(__file__).parents[2] / ".tox"))


def neutron_venv() -> Path:
    """Return the environment with Neutron; install it when it is not there or was made from other constraints."""
    venv = _WORK / "neutron-server"
    made_from = hashlib.sha256(_CONSTRAINTS.read_bytes()).hexdigest()
    stamp = venv / "constraints.sha256"
    if stamp.exists() and stamp.read_text() == made_from:
        return venv
    shutil.rmtree(venv, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "pip"), "install", "-q", "-c", str(_CONSTRAINTS), NEUTRON, "gunicorn", "PyMySQL"]
    subprocess.run(pip, check=True)
    stamp.write_text(made_from)
    return venv


class Program:
    """A program in the sandbox with a log file. It may be ended and started again.

    :param name: names the log.
    :param environment: variables beside those of the tests.
    :param folder: where the log is.
    """

    def __init__(
        self,
        name: str,
        argv: list[str],
        *,
        sandbox: Sandbox,
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._argv = argv
        self._sandbox = sandbox
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def wrap(self, wrapper: Callable[[list[str]], list[str]]) -> None:
        """Have something stand before the program; it must become the program."""
        self._argv = wrapper(self._argv)

    @property
    def pid(self) -> int:
        """Process id as seen from outside the sandbox; ``nsenter`` stands between."""
        assert self._process is not None, f"{self.name} was not started"
        return children(self._process.pid)[0]

    @property
    def running(self) -> bool:
        """Tell whether it was started and lives."""
        return self._process is not None and self._process.poll() is None

    def must_run(self) -> None:
        """Do nothing while it runs.

        :raises RuntimeError: it ended; the message has the end of its log.
        """
        if not self.running:
            raise RuntimeError(f"{self.name} ended: {last_lines(self.log)}")

    def start(self, ready: Callable[[], object] | None = None, timeout: float = 180) -> None:
        """Start it; with ``ready``, wait until that is true.

        :raises RuntimeError: it ended, or was not ready in time; the message has the end of its log.
        """
        assert not self.running, f"{self.name} runs"
        with self.log.open("ab") as log:
            # A session of its own, so that one signal reaches it and what it started.
            self._process = subprocess.Popen(
                self._sandbox.argv(self._argv),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if ready is not None:
            self._wait_ready(ready, timeout)

    def stop(self, timeout: float = 30) -> None:
        """End it as systemd does: SIGTERM to the program, SIGKILL for all that is left after ``timeout`` seconds."""
        if self._process is not None and self.running:
            os.kill(self.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the process itself for the time of a block."""
        assert self._process is not None
        pids = (self.pid, self._process.pid)
        os.kill(pids[0], signal.SIGSTOP)
        try:
            yield
        finally:
            # nsenter stops with what it started.
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it by SIGKILL, with its process group and all of its descendants."""
        if self._process is None:
            return
        kill_family(self._process)
        self._process = None

    def _wait_ready(self, ready: Callable[[], object], timeout: float) -> None:
        def looks_ready() -> object:
            self.must_run()
            return ready()

        try:
            poll(looks_ready, timeout)
        except TimeoutError as exc:
            raise RuntimeError(f"{self.name} not ready after {timeout} s: {last_lines(self.log)}") from exc
