# SPDX-License-Identifier: Apache-2.0
"""A thread for the long parts of work on large states, so that the kernel thread serves other routers meanwhile.

It computes (values in, values out) and sends on the sockets of one namespace, one task at a time, in the order given.
Everything that the kernel thread shares between routers stays in the kernel thread, which continues a state only when
the task is done: the order of the sends is the same as without this thread.

A thread that computes holds the interpreter's lock for ``sys.getswitchinterval()``, 5 ms by default, and a request of
another router gives the lock up at each of its about 15 system calls: with the default it would take 75 ms. The
interval is short as long as there are tasks.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from l3agent.dataplane.work.wait import Wait

R = TypeVar("R")

#: Entries (addresses, routes, map elements) that the kernel thread handles itself: some 30 ms from end to end.
INLINE_ENTRIES = 500
#: Seconds for which a thread keeps the interpreter's lock while there are tasks.
_SWITCH_INTERVAL_S = 0.0005


class Task:
    """One call in the thread; a :class:`~l3agent.dataplane.work.wait.Wait`."""

    error: str | None = None

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._result: Any = None
        self._exception: BaseException | None = None
        self.done = False

    def run(self) -> None:
        """Run the call and keep its result."""
        try:
            self._result = self._call()
        except BaseException as exc:
            self._exception = exc
        self.done = True

    def result(self) -> Any:
        """Return what the call returned, or raise what it raised."""
        if self._exception is not None:
            raise self._exception
        return self._result


class Offload:
    """Runs calls in the thread, which starts with the first of them.

    :ivar descriptor: becomes readable when a task is done.
    """

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def submit(self, call: Callable[[], object]) -> Task:
        """Schedule a call in the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="offload", daemon=True)
            self._thread.start()
        task = Task(call)
        self._tasks.put(task)
        return task

    def clear(self) -> None:
        """Make the descriptor unreadable until the next task is done."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            return

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            usual = sys.getswitchinterval()
            sys.setswitchinterval(_SWITCH_INTERVAL_S)
            # A collection of that many new objects, none of them in a cycle, stops all threads for 50 to 100 ms.
            gc.disable()
            try:
                while True:
                    task.run()
                    os.eventfd_write(self.descriptor, 1)
                    task = self._tasks.get_nowait()
            except Empty:
                gc.enable()
                sys.setswitchinterval(usual)


class Run(Protocol):
    """Runs a call of a generator: directly up to :data:`INLINE_ENTRIES`, else in the thread."""

    def __call__(self, size: int, call: Callable[[], R]) -> Generator[Wait, None, R]:
        """Run the call, which handles ``size`` entries; return or raise what it does."""
