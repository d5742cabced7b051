# SPDX-License-Identifier: Apache-2.0
"""Runs ``service_program.py`` as a process, sends it signals and reads its output."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import eventlet

PROGRAM = Path(__file__).with_name("service_program.py")


class Process:
    """The program and its output.

    :param folder: for its configuration, its log, and the socket ``notify`` of its service manager.
    :param terminal: run it in the foreground of a terminal.
    """

    def __init__(
        self,
        folder: Path,
        mode: str = "plain",
        workers: int = 1,
        *,
        library: str = "ours",
        terminal: bool = False,
        **environment: str,
    ) -> None:
        self.folder = folder
        # Short only in tests of the deadline.
        self._stop_timeout = {"hanging_stop": "1", "stuck_stop": "1", "long_stop": "300"}.get(mode, "10")
        self.configure("first")
        reader, writer = os.openpty() if terminal else os.pipe()
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [
                    *(["setsid", "--ctty"] if terminal else []),
                    *(sys.executable, str(PROGRAM), library, mode, str(workers)),
                    *("--config-file", str(folder / "conf")),
                ],
                stdin=writer if terminal else subprocess.DEVNULL,
                stdout=writer,
                stderr=log,
                env={**os.environ, "NOTIFY_SOCKET": str(folder / "notify"), **environment},
                start_new_session=not terminal,
            )
        os.close(writer)
        self._output = os.fdopen(reader)

    def configure(self, word: str, **options: str) -> None:
        values = {"word": word, "graceful_shutdown_timeout": self._stop_timeout, "use_stderr": "true", **options}
        (self.folder / "conf").write_text(
            "[DEFAULT]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def line(self, what: str, timeout: float = 60) -> tuple[int, float]:
        """Wait for a line of output; return the process that wrote it, and the time."""
        try:
            with eventlet.Timeout(timeout):
                for line in self._lines():
                    text, pid, moment = line.rsplit(maxsplit=2)
                    if text == what:
                        return int(pid), float(moment)
        except eventlet.Timeout:
            raise TimeoutError(f"no line: {what}\n{self.log}") from None
        raise AssertionError(f"ended without a line: {what}\n{self.log}")

    def pids(self, *what: str, timeout: float = 60) -> set[int]:
        """Wait for lines of output, in any order; return the processes that wrote them."""
        found: dict[str, int] = {}
        with eventlet.Timeout(timeout, TimeoutError(f"not all lines: {what}\n{self.log}")):
            for line in self._lines():
                text, pid, _ = line.rsplit(maxsplit=2)
                if text in what:
                    found[text] = int(pid)
                if len(found) == len(what):
                    return set(found.values())
        raise AssertionError(f"ended without all lines: {what}\n{self.log}")

    def _lines(self) -> Iterator[str]:
        with suppress(OSError):  # a terminal raises it when its program has ended
            yield from iter(self._output.readline, "")

    def signal(self, number: int) -> float:
        """Send a signal; return the time."""
        moment = time.monotonic()
        self.process.send_signal(number)
        return moment

    def signal_group(self, number: int) -> None:
        """Send a signal to the program and all its workers, as a terminal or a service manager does."""
        os.killpg(self.process.pid, number)

    def status(self, timeout: float = 60) -> int:
        with eventlet.Timeout(timeout, TimeoutError(f"still runs\n{self.log}")):
            return self.process.wait()

    def close(self) -> None:
        """Kill the program and all processes of its group: workers of oslo.service outlive their parent."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self._output.close()
