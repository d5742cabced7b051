# SPDX-License-Identifier: Apache-2.0
"""Transport and clients over oslo.messaging. A client enforces its deadline, also without a reachable broker."""

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
# These do not affect declarations of queues and exchanges, so agents with other values may share the virtual host.
# The driver's defaults (1, 3, 5 ... 30 s between attempts, plus 1 s) delay the reconnection by up to half a minute.
RABBIT_DEFAULTS = {
    "rabbit_retry_interval": 1,
    "rabbit_retry_backoff": 0,
    "rabbit_interval_max": 1,
    "kombu_reconnect_delay": 0.1,
    "heartbeat_timeout_threshold": 30,
}
# The mandatory flag of AMQP: a topic without consumers is detected in 2 ms, not after the timeout of the call.
_MANDATORY = oslo_messaging.TransportOptions(at_least_once=True)
_URL_HINT = (
    "it cannot be parsed; it has the form rabbit://user:password@host:port/vhost, and special characters of the "
    "password are percent-encoded (/ as %2F, # as %23, ? as %3F, @ as %40)"
)
# Size of the cache of prepared casts: one entry per server that a client sends to.
_PREPARED_CASTS_MAX = 64
# Transports that a forked worker renews.
_transports: WeakSet[Any] = WeakSet()
# Drivers of the parent. They must not be collected: the destructor of a connection shuts down the shared socket.
_inherited: list[Any] = []
BROKER_ERRORS = (oslo_messaging.MessagingException, kombu.exceptions.KombuError, amqp.AMQPError, OSError)


def get_transport(conf: cfg.ConfigOpts, url: str | None = None) -> oslo_messaging.RPCTransport:
    """Return the RPC transport of a configuration, without connecting.

    :param conf: any ``ConfigOpts``, private or global; options of oslo.messaging are registered on it, with defaults of
        this library for options that neither a file nor the program has set.
    :param url: overrides ``transport_url`` of the configuration.
    :raises ConfigError: the URL cannot be parsed, or its driver cannot be loaded.
    """
    try:
        parsed = oslo_messaging.TransportURL.parse(conf, url)
        _set_defaults(conf, None, {"control_exchange": CONTROL_EXCHANGE})
        transport = oslo_messaging.get_rpc_transport(conf, parsed)
    except (ValueError, oslo_messaging.InvalidTransportURL):
        # The parser's message contains a part of the password.
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
    """Replace the driver of each transport of :func:`get_transport` after a fork.

    The inherited driver has connections of the parent, which two processes cannot share, and waits for greenthreads
    that do not exist in the child. Consumers started before the fork remain in the parent.
    """
    LocalDriver.reset_brokers()
    for transport in list(_transports):
        _inherited.append(transport._driver)
        renewed = oslo_messaging.get_rpc_transport(transport.conf, transport._driver._url)
        transport._driver = renewed._driver


def _without_password(url: str) -> str:
    """Return a URL, valid or not, without the text between its first user and its last host."""
    return re.sub(r"^((?:[^:]*://)?[^:]*):.*@", r"\1:***@", url, flags=re.DOTALL)


def _set_defaults(conf: cfg.ConfigOpts, group: str | None, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if conf.get_location(name, group).location is cfg.Locations.opt_default:
            conf.set_default(name, value, group=group)


def _register_private_options(conf: cfg.ConfigOpts) -> None:
    """Register the two groups that oslo.messaging reads from each conf but registers on the global one only."""
    try:
        from oslo_messaging._metrics.client import oslo_messaging_metrics
        from oslo_messaging._tracing.client import oslo_messaging_tracing
    except ImportError:  # a later release may move or fix them; pyproject has an upper bound of the version
        LOG.warning("oslo.messaging no longer has its private option groups; calls may fail with NoSuchOptError")
        return
    conf.register_opts(oslo_messaging_tracing, "oslo_messaging_tracing")
    conf.register_opts(oslo_messaging_metrics, "oslo_messaging_metrics")


class Client:
    """Calls and casts to one topic.

    The timeout of a call doubles, per method, with each expiry up to ``max_timeout``, and decreases again with the
    measured response time.

    :param version: version of the server's API that messages request.
    :param timeout: seconds from the call to the answer, with or without a broker; None: option
        ``rpc_response_timeout``.
    :param max_timeout: upper bound of the doubled timeout, in seconds.
    """

    def __init__(
        self,
        transport: oslo_messaging.RPCTransport,
        topic: str,
        *,
        version: str = "1.0",
        timeout: float | None = 60.0,
        max_timeout: float = 600.0,
    ) -> None:
        self.topic = topic
        self._version = version
        self._transport = transport
        self._max_timeout = max_timeout
        self._timeouts: dict[str, float] = {}
        enforces_timeouts = getattr(transport._driver, "enforces_timeouts", False)
        self._run = _run_with_driver_timeout if enforces_timeouts else run_with_deadline
        self._rpc = oslo_messaging.get_rpc_client(
            transport, Target(topic=topic, version=version), serializer=ContextSerializer()
        )
        # The line above registers the option.
        self._timeout: float = transport.conf.rpc_response_timeout if timeout is None else timeout
        # Casts have few combinations of settings; each combination reuses one prepared client of oslo.messaging.
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

        :param server: host of the server to call; default: any server of the topic.
        :param timeout: seconds for this call only, without doubling.
        :param version: overrides the client's.
        :raises ServerUnavailable: no answer in time, no broker, or (at once) no consumer of the topic.
        :raises RemoteError: the method raised; see ``exc_type`` and ``value``.
        """
        allowed = timeout or self._timeouts.get(method, self._timeout)
        rpc = self._prepare(server=server, version=version, timeout=allowed, transport_options=_MANDATORY)
        message = Message("call", self.topic, method, version or self._version, arguments)
        started = time.monotonic()
        with notify_sent(self._transport, message):
            try:
                message.result = self._run(allowed, f"{self.topic}.{method}", rpc.call, context, method, **arguments)
            except TimeoutError as error:
                if timeout is None:
                    self._timeouts[method] = min(2 * allowed, self._max_timeout)
                raise ServerUnavailable(str(error)) from error
        if timeout is None:
            self._timeouts[method] = max(self._timeout, min(allowed, 2 * (time.monotonic() - started)))
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
        """Send a message without an answer; return when the broker has accepted it.

        :param server: host of the receiving server; default: any server of the topic.
        :param fanout: send to all servers of the topic.
        :param at_least_once: raise an error if no queue exists for the message. Repeat the cast after an error; the
            message may then arrive twice.
        :raises ServerUnavailable: the broker did not accept it within the client's ``timeout``, or the topic has no
            consumer and ``at_least_once`` is set.
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
    """Raised in the driver after the deadline of the caller.

    Unlike ``eventlet.Timeout`` it is an ``Exception``: only then the driver's pool counts its connections correctly.
    """


def _run_with_driver_timeout(timeout: float, what: str, send: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a call or cast of a driver that enforces timeouts.

    :raises TimeoutError: the deadline passed.
    :raises ServerUnavailable: the broker has refused it.
    """
    with _translate_errors(timeout, what):
        return send(*args, **kwargs)


def run_with_deadline(timeout: float, what: str, send: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a call or cast under a deadline, for any driver; otherwise like :func:`_run_with_driver_timeout`.

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
