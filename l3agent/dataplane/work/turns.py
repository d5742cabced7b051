# SPDX-License-Identifier: Apache-2.0
"""Orders the work on one state: long parts run in another thread, and newer requests supersede older ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from l3agent.dataplane.work.slices import INLINE_ENTRIES, Offload, Task
from l3agent.dataplane.work.wait import Wait
from l3agent.exceptions import L3AgentError
from l3agent.model.states import Key

R = TypeVar("R")


class Superseded(L3AgentError):
    """A newer request for the same state has come; it continues from whatever the older one has done."""

    def __init__(self) -> None:
        super().__init__("superseded by a newer request for it")


class _SocketsFree:
    """A wait for the request that uses the sockets of a key, or for all of them.

    It ends when that request does, not with its task: that one goes on first.
    """

    error: str | None = None

    def __init__(self, tasks: Mapping[Key, Task], key: Key | None) -> None:
        self._tasks, self._key = tasks, key

    @property
    def done(self) -> bool:
        """True if the wait is over."""
        return not self._tasks if self._key is None else self._key not in self._tasks


class Turns:
    """The requests under way, by key; used by the kernel thread.

    While a task of a key runs in the other thread, nothing else may use the sockets of its namespace: every request
    for the key waits (:meth:`wait`). A change that was superseded ends when its task is done.
    """

    def __init__(self) -> None:
        self._offload = Offload()
        self._latest: dict[Key, object] = {}
        self._tasks: dict[Key, Task] = {}

    @property
    def descriptor(self) -> int:
        """Descriptor that becomes readable when a task is done."""
        return self._offload.descriptor

    def clear(self) -> None:
        """Make the descriptor unreadable until the next task is done."""
        self._offload.clear()

    def __contains__(self, key: object) -> bool:
        return key in self._latest

    def is_busy(self, key: Key) -> bool:
        """Return True if a change of a state is under way, or its sockets are in use."""
        return key in self._latest or key in self._tasks

    def begin(self, key: Key) -> object:
        """Register a request that changes a state; return its turn."""
        turn = self._latest[key] = object()
        return turn

    def end(self, key: Key, turn: object) -> None:
        """Remove a turn, if it is still the latest one."""
        if turn is not None and self._latest.get(key) is turn:
            del self._latest[key]

    def cancel(self, key: Key) -> None:
        """Cancel the request in progress for a key: it ends at its next check."""
        self._latest.pop(key, None)

    def is_latest(self, key: Key, turn: object) -> bool:
        """Return True if no newer request for the key came since."""
        return self._latest.get(key) is turn

    def wait(self, key: Key, turn: object = None) -> Generator[Wait, None, None]:
        """Wait until the sockets of a state are free.

        :param turn: that of a change, None for a request that changes nothing.
        :raises Superseded: a newer request for the key has come.
        """
        while key in self._tasks:
            yield _SocketsFree(self._tasks, key)
        if turn is not None and not self.is_latest(key, turn):
            raise Superseded

    def wait_for_all(self) -> Generator[Wait, None, None]:
        """Wait until the sockets of all states are free."""
        while self._tasks:
            yield _SocketsFree(self._tasks, None)

    def run(self, key: Key, turn: object, size: int, call: Callable[[], R]) -> Generator[Wait, None, R]:
        """Run a call, in the other thread when it handles many entries.

        :raises Superseded: a newer request for the key has come meanwhile; the call was finished all the same.
        """
        if size <= INLINE_ENTRIES:
            return call()
        assert key not in self._tasks
        task = self._tasks[key] = self._offload.submit(call)
        yield task
        del self._tasks[key]
        if turn is not None and not self.is_latest(key, turn):
            raise Superseded
        result: R = task.result()
        return result
