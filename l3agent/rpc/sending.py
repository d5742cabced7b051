# SPDX-License-Identifier: Apache-2.0
"""Sends one message: the deadline of the caller, and errors of the drivers as errors of this library."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import eventlet
import greenlet
import kombu.exceptions
import oslo_messaging
from oslo_messaging import RemoteError

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc.deadline import time_limit

BROKER_ERRORS = (oslo_messaging.MessagingException, kombu.exceptions.KombuError, amqp.AMQPError, OSError)


class _AbandonedError(Exception):
    """Raised in the driver after the deadline of the caller.

    Unlike ``eventlet.Timeout`` it is an ``Exception``: only then the driver's pool counts its connections correctly.
    """


def run_with_driver_timeout(timeout: float, what: str, send: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a call or cast of a driver that enforces timeouts.

    :raises TimeoutError: the deadline passed.
    :raises ServerUnavailable: the broker has refused it.
    """
    with _translate_errors(timeout, what):
        return send(*args, **kwargs)


def run_with_deadline(timeout: float, what: str, send: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a call or cast under a deadline, for any driver; otherwise like :func:`run_with_driver_timeout`.

    The driver's timeout covers only the wait for the reply: without a broker it connects for ever, and it may hold a
    lock while it is interrupted. So it runs in its own greenlet, which may end later than the caller returns.
    """
    sender = _SendGreenlet(send, args, kwargs)
    try:
        with _translate_errors(timeout, what), time_limit(timeout):
            return sender.wait()
    finally:
        sender.abandon(_AbandonedError(f"{what}: the deadline has passed"))


class _SendGreenlet:
    """A greenlet that sends and starts immediately; the scheduling of a spawned one costs a cast some percent."""

    def __init__(self, send: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._work = functools.partial(send, *args, **kwargs)
        self._caller: Any = None
        self._answer: Any = None
        self._error: Exception | None = None
        self._greenlet = greenlet.greenlet(self._run)

    def wait(self) -> Any:
        """Send and return the answer."""
        self._caller = greenlet.getcurrent()
        # Control returns when it has finished, or when the caller is interrupted.
        self._greenlet.switch()
        if self._error is not None:
            raise self._error
        return self._answer

    def abandon(self, error: Exception) -> None:
        """Interrupt the greenlet if it has not finished; it does not wake its caller any more."""
        self._caller = None
        if self._greenlet:  # started and not finished
            eventlet.kill(self._greenlet, error)

    def _run(self) -> None:
        try:
            self._answer = self._work()
        except Exception as error:
            self._error = error
        # A greenlet that never waited returns to its caller; otherwise the hub is its parent.
        if greenlet.getcurrent().parent is not self._caller:
            eventlet.hubs.get_hub().schedule_call_global(0, self._wake)

    def _wake(self) -> None:
        if self._caller is not None:
            self._caller.switch()


@contextmanager
def _translate_errors(timeout: float, what: str) -> Iterator[None]:
    try:
        yield
    except RemoteError:
        raise
    except Exception as error:
        # Connection and timeout errors of the server's own backends are no such errors of the server.
        if remote := _remote_error(error):
            raise remote from error
        if isinstance(error, TimeoutError | oslo_messaging.MessagingTimeout):
            raise TimeoutError(f"{what}: no answer within {timeout:.3g} s") from None
        if isinstance(error, oslo_messaging.MessageUndeliverable):
            raise ServerUnavailable(f"{what}: this topic has no consumer") from error
        if isinstance(error, BROKER_ERRORS):
            raise ServerUnavailable(f"{what}: {error}") from error
        raise RemoteError(type(error).__name__, str(error), []) from error


def _remote_error(error: Exception) -> RemoteError | None:
    """Return a ``RemoteError`` for a built-in error of the remote method, which the drivers raise unchanged.

    Its text ends with the remote traceback (``deserialize_remote_exception`` of oslo.messaging).
    """
    value, found, trace = str(error.args[0] if error.args else "").partition("\nTraceback ")
    return RemoteError(type(error).__name__, value, [trace]) if found else None
