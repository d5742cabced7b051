# SPDX-License-Identifier: Apache-2.0
"""Who counts or records messages is told of each one, by transport: a process may have several, and tests have many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

from oslo_log import log as logging
from oslo_messaging import RemoteError
from oslo_messaging.rpc.dispatcher import NoSuchMethod, UnsupportedVersion

from l3agent.exceptions import ServerUnavailable

LOG = logging.getLogger(__name__)

#: Called with the method, the direction (``out``: we ask; ``in``: we are asked) and the result: ``ok``, ``error`` (the
#: method raised) or ``unavailable`` (no answer in time, or no broker).
ResultObserver = Callable[[str, str, str], object]

#: Stands for all methods that nobody here has: their names are chosen by whoever reaches the broker.
UNKNOWN_METHOD = "unknown"


@dataclass(slots=True)
class Message:
    """What was said.

    :param kind: ``call`` and ``cast`` go out, ``in`` came.
    :param result: the answer to a call.
    :param error: why there is none, or why a cast did not go out: what the method raised, by name, or ``unavailable``.
    """

    kind: Literal["call", "cast", "in"]
    topic: str
    method: str
    version: str
    arguments: Mapping[str, Any]
    result: Any = None
    error: str | None = None


#: Called with each message that went out, or could not, once its end is known, and before each that came is worked on.
MessageObserver = Callable[[Message], object]

_message_observers: WeakKeyDictionary[Any, list[MessageObserver]] = WeakKeyDictionary()
_result_observers: WeakKeyDictionary[Any, list[ResultObserver]] = WeakKeyDictionary()


def on_result(transport: Any, observer: ResultObserver) -> None:
    """Have a function called after each message that is sent or worked on over a transport."""
    _result_observers.setdefault(transport, []).append(observer)


def remove_on_result(transport: Any, observer: ResultObserver) -> None:
    """Stop calling a function of :func:`on_result`; doing it twice is harmless."""
    if observer in (observers := _result_observers.get(transport, [])):
        observers.remove(observer)


def on_message(transport: Any, observer: MessageObserver) -> None:
    """Have a function called with each message of a transport."""
    _message_observers.setdefault(transport, []).append(observer)


def notify_message(transport: Any, message: Message) -> None:
    """Tell who records a transport of a message."""
    for observer in _message_observers.get(transport, ()):
        _call(observer, message)


@contextmanager
def notify_sent(transport: Any, message: Message) -> Iterator[None]:
    """Surround the sending of a message; whoever sends a call puts its answer into it."""
    try:
        yield
    except ServerUnavailable:
        _notify_end(transport, message, "unavailable", "unavailable")
        raise
    except RemoteError as error:
        _notify_end(transport, message, "error", str(error.exc_type))
        raise
    _notify_end(transport, message, "ok", None)


@contextmanager
def notify_received(transport: Any, method: str) -> Iterator[None]:
    """Surround the work on a message that came."""
    try:
        yield
    except (NoSuchMethod, UnsupportedVersion):
        _notify_result(transport, UNKNOWN_METHOD, "in", "error")
        raise
    except Exception:
        _notify_result(transport, method, "in", "error")
        raise
    _notify_result(transport, method, "in", "ok")


def _notify_end(transport: Any, message: Message, result: str, error: str | None) -> None:
    message.error = error
    _notify_result(transport, message.method, "out", result)
    notify_message(transport, message)


def _notify_result(transport: Any, method: str, direction: str, result: str) -> None:
    for observer in tuple(_result_observers.get(transport, ())):
        _call(observer, method, direction, result)


def _call(listener: Callable[..., object], *args: object) -> None:
    try:
        listener(*args)
    except Exception:  # what was said was said: a message must not fail because somebody who listens does
        LOG.exception("A listener to messages failed")
