# SPDX-License-Identifier: Apache-2.0
"""Client of one topic. It enforces its deadline, also without a reachable broker."""

from __future__ import annotations

import functools
import time
from typing import Any

import oslo_messaging
from oslo_messaging import RemoteError, Target

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc.context import Context, ContextSerializer
from l3agent.rpc.observers import Message, notify_sent
from l3agent.rpc.sending import run_with_deadline, run_with_driver_timeout

__all__ = ["Client", "RemoteError", "Target"]

# The mandatory flag of AMQP: a topic without consumers is detected in 2 ms, not after the timeout of the call.
_MANDATORY = oslo_messaging.TransportOptions(at_least_once=True)
# Size of the cache of prepared casts: one entry per server that a client sends to.
_PREPARED_CASTS_MAX = 64


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
        self._run = run_with_driver_timeout if enforces_timeouts else run_with_deadline
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
