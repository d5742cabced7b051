# SPDX-License-Identifier: Apache-2.0
"""The processes of one program: the main process, and the rest of them that may outlive it."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable
from typing import Protocol

from l3agent.dataplane.programs.process import (
    Process,
    ProcessFacts,
    find_descendants,
    find_rest,
    open_process,
)

LOG = logging.getLogger(__name__)


class DescriptorWatch(Protocol):
    """Calls a function whenever a descriptor is readable."""

    def add(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Watch a descriptor."""

    def remove(self, descriptor: int) -> None:
        """Watch a descriptor no more; it is still open."""


class ProcessGroup:
    """The processes of one program.

    :param path: its directory.
    :param watch: reports the end of each process.
    :param on_end: called when one has ended; :meth:`collect` has to follow.
    """

    def __init__(self, path: str, watch: DescriptorWatch, on_end: Callable[[], None]) -> None:
        self._path = path
        self._watch = watch
        self._on_end = on_end
        self._main: Process | None = None
        self._rest: list[Process] = []
        self._argv: list[str] = []
        self._session: int | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the main process, None if it does not run."""
        return None if self._main is None else self._main.pid

    @property
    def main_facts(self) -> ProcessFacts | None:
        """Facts of the main process, None if it does not run."""
        return None if self._main is None else self._main.facts

    @property
    def is_empty(self) -> bool:
        """True if no process is left."""
        return self._main is None and not self._rest

    def set_main(self, process: Process, argv: list[str]) -> None:
        """Set the main process, which leads the session of all."""
        self.set_former(process.facts.session, argv)
        self._main = process
        self._watch.add(process.descriptor, self._on_end)

    def set_former(self, session: int | None, argv: list[str]) -> None:
        """Set the session and arguments of a main process that has ended; None if it was not recorded."""
        self._session, self._argv = session, argv

    def add_rest(self, processes: Iterable[Process]) -> None:
        """Add processes beside the main one."""
        for process in processes:
            self._rest.append(process)
            self._watch.add(process.descriptor, self._on_end)

    def search_rest(self) -> None:
        """Add the processes that the main one has left; it has ended."""
        if self._session is not None:
            self.add_rest(find_rest(self._session, self._argv, self._path))

    def send_signal(self, number: int) -> None:
        """Send a signal to the main process."""
        if self._main is not None:
            self._send(self._main, number)

    def stop(self, number: int) -> None:
        """Send a signal to the main process, or to the others if it has ended."""
        self._add_descendants()
        for process in self._rest if self._main is None else [self._main]:
            self._send(process, number)

    def kill(self) -> None:
        """Send SIGKILL to all."""
        self._add_descendants()
        for process in [*self._rest, *([] if self._main is None else [self._main])]:
            self._send(process, signal.SIGKILL)

    def collect(self) -> str | None:
        """Remove the ended processes; return how the main one ended if it is among them."""
        for process in [one for one in self._rest if one.has_ended]:
            self._rest.remove(process)
            self._forget(process)
        if self._main is None or not self._main.has_ended:
            return None
        status = self._main.reap()
        self._forget(self._main)
        self._main = None
        return describe_end(status)

    def close(self) -> None:
        """Watch the processes no more; they continue."""
        for process in [*self._rest, *([] if self._main is None else [self._main])]:
            self._forget(process)
        self._main, self._rest = None, []

    # ---- private ---------------------------------------------------------------------------------------------

    def _add_descendants(self) -> None:
        """Open the descendants of the main process: after its end they are no longer found as such."""
        if self._main is None:
            return
        present = {process.pid for process in self._rest}
        found = [open_process(pid) for pid in find_descendants(self._main.pid) if pid not in present]
        self.add_rest(process for process in found if process is not None)

    def _send(self, process: Process, number: int) -> None:
        try:
            process.send_signal(number)
        except OSError as exc:
            LOG.error("process %d: signal %d: %s", process.pid, number, exc)

    def _forget(self, process: Process) -> None:
        self._watch.remove(process.descriptor)
        process.close()


def describe_end(status: int | None) -> str:
    """Return how a process ended.

    :param status: exit status, negative for a signal; None if the process was no child.
    """
    if status is None:
        return "ended"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
