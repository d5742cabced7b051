# SPDX-License-Identifier: Apache-2.0
"""Per-transport observers of RPC messages (metrics, trace)."""

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

#: Called with the method, the direction (``out``: sent, ``in``: received) and the result: ``ok``, ``error`` (the method
#: raised) or ``unavailable`` (no answer in time, or no broker).
ResultObserver = Callable[[str, str, str], object]

#: Replaces the names of unknown methods, which any client of the broker can choose.
UNKNOWN_METHOD = "unknown"


@dataclass(slots=True)
class Message:
    """An RPC message.

    :param kind: ``call`` or ``cast`` if it was sent, ``in`` if it was received.
    :param result: answer to a call.
    :param error: reason of a failed call or cast: name of the exception that the method raised, or ``unavailable``.
    """

    kind: Literal["call", "cast", "in"]
    topic: str
    method: str
    version: str
    arguments: Mapping[str, Any]
    result: Any = None
    error: str | None = None


#: Called with each sent message after its end or failure, and with each received message before it is processed.
MessageObserver = Callable[[Message], object]

_message_observers: WeakKeyDictionary[Any, list[MessageObserver]] = WeakKeyDictionary()
_result_observers: WeakKeyDictionary[Any, list[ResultObserver]] = WeakKeyDictionary()


def on_result(transport: Any, observer: ResultObserver) -> None:
    """Register a function to call after each message that is sent or processed over a transport."""
    _result_observers.setdefault(transport, []).append(observer)


def remove_on_result(transport: Any, observer: ResultObserver) -> None:
    """Remove a function registered by :func:`on_result`. Idempotent."""
    if observer in (observers := _result_observers.get(transport, [])):
        observers.remove(observer)


def on_message(transport: Any, observer: MessageObserver) -> None:
    """Register a function to call with each message of a transport."""
    _message_observers.setdefault(transport, []).append(observer)


def notify_message(transport: Any, message: Message) -> None:
    """Notify the message observers of a transport."""
    for observer in _message_observers.get(transport, ()):
        _call(observer, message)


@contextmanager
def notify_sent(transport: Any, message: Message) -> Iterator[None]:
    """Context manager around the sending of a message; the body stores the answer in the message."""
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
    """Context manager around the processing of a received message."""
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


def _call(observer: Callable[..., object], *args: object) -> None:
    try:
        observer(*args)
    except Exception:  # an error of an observer must not fail the message
        LOG.exception("Error in an observer of RPC messages")
