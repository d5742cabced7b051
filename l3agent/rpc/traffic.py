# SPDX-License-Identifier: Apache-2.0
"""Who counts messages is told of each one, by transport: a process may have several, and tests have many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from oslo_messaging import RemoteError
from oslo_messaging.rpc.dispatcher import NoSuchMethod, UnsupportedVersion

from l3agent.exceptions import PluginUnavailable

#: Called with the method, the direction (``out``: we ask; ``in``: we are asked) and the result: ``ok``, ``error`` (the
#: method raised) or ``unavailable`` (no answer in time, or no broker).
Watcher = Callable[[str, str, str], object]

#: Stands for all methods that nobody here has: their names are chosen by whoever reaches the broker.
UNKNOWN_METHOD = "unknown"

_watchers: WeakKeyDictionary[Any, list[Watcher]] = WeakKeyDictionary()


def watch(transport: Any, watcher: Watcher) -> None:
    """Have a function called after each message that is sent or worked on over a transport."""
    _watchers.setdefault(transport, []).append(watcher)


@contextmanager
def sent(transport: Any, method: str) -> Iterator[None]:
    """Surround the sending of a message, with its answer if it has one."""
    try:
        yield
    except PluginUnavailable:
        _tell(transport, method, "out", "unavailable")
        raise
    except RemoteError:
        _tell(transport, method, "out", "error")
        raise
    _tell(transport, method, "out", "ok")


class Dispatcher:
    """A dispatcher of oslo.messaging that tells what became of each message.

    :param inner: does the work.
    """

    def __init__(self, inner: Any, transport: Any) -> None:
        self._inner = inner
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def dispatch(self, incoming: Any) -> Any:
        """Work on one message; returns and raises what the method does."""
        method = str(incoming.message.get("method"))
        try:
            answer = self._inner.dispatch(incoming)
        except (NoSuchMethod, UnsupportedVersion):
            _tell(self._transport, UNKNOWN_METHOD, "in", "error")
            raise
        except Exception:
            _tell(self._transport, method, "in", "error")
            raise
        _tell(self._transport, method, "in", "ok")
        return answer


def _tell(transport: Any, method: str, direction: str, result: str) -> None:
    for watcher in _watchers.get(transport, ()):
        watcher(method, direction, result)
