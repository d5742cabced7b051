# SPDX-License-Identifier: Apache-2.0
"""Transport and clients over oslo.messaging. A client keeps its deadline even when there is no broker to send to."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import amqp
import eventlet
import greenlet
import kombu.exceptions
import oslo_messaging
from oslo_config import cfg
from oslo_log import log as logging
from oslo_messaging import RemoteError, Target

from l3agent.exceptions import ConfigError, ServerUnavailable
from l3agent.rpc.context import Context, ContextSerializer
from l3agent.rpc.deadline import time_limit
from l3agent.rpc.driver_log import limit_driver_log
from l3agent.rpc.local import LocalDriver
from l3agent.rpc.observers import Message, notify_sent

__all__ = ["Client", "RemoteError", "Target", "get_transport"]

LOG = logging.getLogger(__name__)

CONTROL_EXCHANGE = "neutron"
# None of these takes part in a queue or exchange declaration, so agents with other values may share the vhost.
# The driver's own (1, 3, 5 ... 30 s between tries, plus 1 s) leave an agent deaf for half a minute after an outage.
RABBIT_DEFAULTS = {
    "rabbit_retry_interval": 1,
    "rabbit_retry_backoff": 0,
    "rabbit_interval_max": 1,
    "kombu_reconnect_delay": 0.1,
    "heartbeat_timeout_threshold": 30,
}
# A server that is not back yet is known in 2 ms, instead of after the whole time allowed for its answer.
_MANDATORY = oslo_messaging.TransportOptions(at_least_once=True)
_URL_HINT = (
    "it cannot be parsed; it has the form rabbit://user:password@host:port/vhost, and special characters of the "
    "password are quoted (/ as %2F, # as %23, ? as %3F, @ as %40)"
)
# Ways to cast that a client keeps ready: one a server that it speaks to.
_PREPARED_CASTS_MAX = 64
# What a forked worker has to renew.
_transports: WeakSet[Any] = WeakSet()
# Drivers of the parent. They are never collected: the destructor of a connection shuts down the socket for both.
_inherited: list[Any] = []
BROKER_ERRORS = (oslo_messaging.MessagingException, kombu.exceptions.KombuError, amqp.AMQPError, OSError)


def get_transport(conf: cfg.ConfigOpts, url: str | None = None) -> oslo_messaging.RPCTransport:
    """Return the RPC transport of a configuration; nothing is connected yet.

    :param conf: any ``ConfigOpts``, private or the global one; options of oslo.messaging are registered on it, and get
        our defaults where neither a file nor the program has set them.
    :param url: goes before ``transport_url`` of the configuration.
    :raises ConfigError: the URL cannot be parsed, or its driver cannot be loaded.
    """
    try:
        parsed = oslo_messaging.TransportURL.parse(conf, url)
        _set_defaults(conf, None, {"control_exchange": CONTROL_EXCHANGE})
        transport = oslo_messaging.get_rpc_transport(conf, parsed)
    except (ValueError, oslo_messaging.InvalidTransportURL):
        # What the parser says has a part of the password in it.
        raise ConfigError(f"transport_url: {_without_password(url or conf.transport_url)}: {_URL_HINT}") from None
    except oslo_messaging.DriverLoadFailure as error:
        raise ConfigError(f"transport_url: {_without_password(url or conf.transport_url)}: {error}") from error
    _register_private_options(conf)
    limit_driver_log()
    if "oslo_messaging_rabbit" in conf:
        _set_defaults(conf, "oslo_messaging_rabbit", RABBIT_DEFAULTS)
    _transports.add(transport)
    return transport


def renew_transports() -> None:
    """Give each transport of :func:`get_transport` a driver of this process, after a fork.

    The inherited one has the parent's connections, which two processes cannot share, and waits for greenthreads that do
    not exist here. Consumers that were started before the fork stay the parent's.
    """
    LocalDriver.reset_brokers()
    for transport in list(_transports):
        _inherited.append(transport._driver)
        renewed = oslo_messaging.get_rpc_transport(transport.conf, transport._driver._url)
        transport._driver = renewed._driver


def _without_password(url: str) -> str:
    """Return a URL, right or wrong, without what stands between its first user and its last host."""
    return re.sub(r"^((?:[^:]*://)?[^:]*):.*@", r"\1:***@", url, flags=re.DOTALL)


def _set_defaults(conf: cfg.ConfigOpts, group: str | None, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if conf.get_location(name, group).location is cfg.Locations.opt_default:
            conf.set_default(name, value, group=group)


def _register_private_options(conf: cfg.ConfigOpts) -> None:
    """Register the two groups that oslo.messaging reads from every conf but registers on the global one only."""
    try:
        from oslo_messaging._metrics.client import oslo_messaging_metrics
        from oslo_messaging._tracing.client import oslo_messaging_tracing
    except ImportError:  # moved or mended in a later release; the bound in pyproject keeps that away from users
        LOG.warning("oslo.messaging no longer has its private option groups; calls may fail with NoSuchOptError")
        return
    conf.register_opts(oslo_messaging_tracing, "oslo_messaging_tracing")
    conf.register_opts(oslo_messaging_metrics, "oslo_messaging_metrics")


class Client:
    """Calls and casts to one topic.

    The time allowed for a call doubles, per method, with each timeout up to ``max_timeout``, and goes back to what the
    answers need.

    :param version: version of the server's API that messages ask for.
    :param timeout: seconds that a call may take, from now to the answer, with or without a broker.
    :param max_timeout: upper bound of the doubled time, in seconds.
    """

    def __init__(
        self,
        transport: oslo_messaging.RPCTransport,
        topic: str,
        *,
        version: str = "1.0",
        timeout: float = 60.0,
        max_timeout: float = 600.0,
    ) -> None:
        self.topic = topic
        self._version = version
        self._transport = transport
        self._timeout = timeout
        self._max_timeout = max_timeout
        self._allowed: dict[str, float] = {}
        enforces_timeouts = getattr(transport._driver, "enforces_timeouts", False)
        self._run = _run_with_driver_timeout if enforces_timeouts else run_with_deadline
        self._rpc = oslo_messaging.get_rpc_client(
            transport, Target(topic=topic, version=version), serializer=ContextSerializer()
        )
        # Casts differ in few ways, and what oslo.messaging prepares for one serves all that are alike.
        self._prepare_cast = functools.lru_cache(maxsize=_PREPARED_CASTS_MAX)(self._prepare)

    def call(
        self,
        context: Context,
        method: str,
        /,
        *,
        server: str | None = None,
        timeout: float | None = None,
        version: str | None = None,
        **arguments: Any,
    ) -> Any:
        """Call a method and return its answer.

        :param server: host of the one server to ask; any server of the topic otherwise.
        :param timeout: seconds for this call alone, without doubling.
        :param version: instead of the client's.
        :raises ServerUnavailable: no answer in time, no broker, or (at once) nobody who consumes the topic.
        :raises RemoteError: the method raised; ``exc_type`` and ``value`` tell what.
        """
        allowed = timeout or self._allowed.get(method, self._timeout)
        rpc = self._prepare(server=server, version=version, timeout=allowed, transport_options=_MANDATORY)
        message = Message("call", self.topic, method, version or self._version, arguments)
        started = time.monotonic()
        with notify_sent(self._transport, message):
            try:
                message.result = self._run(allowed, f"{self.topic}.{method}", rpc.call, context, method, **arguments)
            except TimeoutError as error:
                if timeout is None:
                    self._allowed[method] = min(2 * allowed, self._max_timeout)
                raise ServerUnavailable(str(error)) from error
        if timeout is None:
            self._allowed[method] = max(self._timeout, min(allowed, 2 * (time.monotonic() - started)))
        return message.result

    def cast(
        self,
        context: Context,
        method: str,
        /,
        *,
        server: str | None = None,
        fanout: bool = False,
        at_least_once: bool = False,
        version: str | None = None,
        **arguments: Any,
    ) -> None:
        """Send a message nobody answers; returns when the broker has it.

        :param server: host of the one server to tell.
        :param fanout: tell all servers of the topic.
        :param at_least_once: for a message that matters: it is an error when there is no queue to put it into. After an
            error send it again; it may arrive twice.
        :raises ServerUnavailable: the broker did not take it within the client's ``timeout``, or nobody consumes the
            topic and ``at_least_once`` is asked for.
        """
        options = _MANDATORY if at_least_once else None
        rpc = self._prepare_cast(server=server, fanout=fanout or None, version=version, transport_options=options)
        with notify_sent(self._transport, Message("cast", self.topic, method, version or self._version, arguments)):
            try:
                self._run(self._timeout, f"{self.topic}.{method}", rpc.cast, context, method, **arguments)
            except TimeoutError as error:
                raise ServerUnavailable(str(error)) from error

    def _prepare(self, **settings: Any) -> Any:
        return self._rpc.prepare(**{name: value for name, value in settings.items() if value is not None})


class _AbandonedError(Exception):
    """Thrown into the driver when nobody waits for it any longer.

    An ``Exception``, unlike ``eventlet.Timeout``: the driver's pool counts its connections right for those only.
    """


def _run_with_driver_timeout(timeout: float, what: str, send: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a call or cast of a driver that keeps its deadline.

    :raises TimeoutError: the deadline passed.
    :raises ServerUnavailable: the broker refused.
    """
    with _translate_errors(timeout, what):
        return send(*args, **kwargs)


def run_with_deadline(timeout: float, what: str, send: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a call or cast with a deadline of our own; otherwise like :func:`_run_with_driver_timeout`.

    The driver's timeout covers the wait for the reply alone: without a broker it tries to connect for ever, and it may
    hold on to a lock while it is interrupted. So it runs, and is left to end, in a greenlet of its own.
    """
    sender = _Sender(send, args, kwargs)
    try:
        with _translate_errors(timeout, what), time_limit(timeout):
            return sender.wait()
    finally:
        sender.abandon(_AbandonedError(f"{what}: the caller waits no longer"))


class _Sender:
    """A greenlet that sends, begun at once: a spawned one waits for its turn, which costs a cast some percent."""

    def __init__(self, send: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self._work = functools.partial(send, *args, **kwargs)
        self._caller: Any = None
        self._answer: Any = None
        self._error: Exception | None = None
        self._greenlet = greenlet.greenlet(self._run)

    def wait(self) -> Any:
        """Send, and return the answer."""
        self._caller = greenlet.getcurrent()
        # Control comes back when it is done, or by whoever interrupts the caller.
        self._greenlet.switch()
        if self._error is not None:
            raise self._error
        return self._answer

    def abandon(self, error: Exception) -> None:
        """Interrupt it, if it is still at work; the caller is not woken any more."""
        self._caller = None
        if self._greenlet:  # begun, and not at its end
            eventlet.kill(self._greenlet, error)

    def _run(self) -> None:
        try:
            self._answer = self._work()
        except Exception as error:
            self._error = error
        # As long as it never waited, it ends into its caller; the hub makes itself the parent of who waits.
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
        # A server whose own backend refuses a connection, or is late, is neither away nor late itself.
        if remote := _remote_error(error):
            raise remote from error
        if isinstance(error, TimeoutError | oslo_messaging.MessagingTimeout):
            raise TimeoutError(f"{what}: no answer within {timeout:.3g} s") from None
        if isinstance(error, oslo_messaging.MessageUndeliverable):
            raise ServerUnavailable(f"{what}: nobody consumes this topic") from error
        if isinstance(error, BROKER_ERRORS):
            raise ServerUnavailable(f"{what}: {error}") from error
        raise RemoteError(type(error).__name__, str(error), []) from error


def _remote_error(error: Exception) -> RemoteError | None:
    """Return what a built-in error of the remote method should have been: the drivers raise it as itself.

    Its text ends with the trace from over there (``deserialize_remote_exception`` of oslo.messaging).
    """
    value, found, trace = str(error.args[0] if error.args else "").partition("\nTraceback ")
    return RemoteError(type(error).__name__, value, [trace]) if found else None
