# SPDX-License-Identifier: Apache-2.0
"""The heartbeat of an agent: who it is and how it does, told to the server at an interval.

Useful to any kind of agent. It never raises: a report that fails is logged, and the next one comes anyway.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import oslo_messaging
from oslo_log import log as logging

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc.compat import is_unknown_method
from l3agent.rpc.context import admin_context
from l3agent.rpc.failure_log import FailureLog
from l3agent.rpc.transport import Client, RemoteError

LOG = logging.getLogger(__name__)

TOPIC = "q-reports-plugin"


class StateReporter:
    """Reports the state of one agent.

    :param host: name of this node.
    :param binary: name of the program, as ``neutron-l3-agent``.
    :param topic: where the agent consumes, as ``l3_agent``.
    :param agent_type: as ``L3 agent``.
    :param configurations: called for each report; what the server's schedulers read, and figures for people.
    :param availability_zone: of this node; not sent when None.
    :param timeout: seconds the server has for one report; the report interval is the sensible value.
    :param versions: of the server's API, the best first; one that the server turns out to lack is not tried again.
    :param on_revived: called when the server says that it had thought the agent dead, or that it did not know it any
        more: what it sent meanwhile is lost.
    """

    def __init__(
        self,
        transport: oslo_messaging.RPCTransport,
        *,
        host: str,
        binary: str,
        topic: str,
        agent_type: str,
        configurations: Callable[[], Mapping[str, Any]],
        availability_zone: str | None = None,
        timeout: float = 30.0,
        versions: Sequence[str] = ("1.0",),
        on_revived: Callable[[], None] | None = None,
    ) -> None:
        self._identity = {"binary": binary, "host": host, "topic": topic, "agent_type": agent_type}
        if availability_zone is not None:
            self._identity["availability_zone"] = availability_zone
        self._configurations = configurations
        self._timeout = timeout
        self._versions = list(versions)
        self._on_revived = on_revived
        self._client = Client(transport, TOPIC)
        self._is_registered = False
        self._failures = FailureLog(LOG)

    @property
    def is_registered(self) -> bool:
        """Tell whether the server has taken a report, and so knows this agent."""
        return self._is_registered

    def report(self) -> str | None:
        """Send one report and return the server's word: ``new``, ``alive``, ``revived``; None when it failed."""
        try:
            word = self._send()
        except (ServerUnavailable, RemoteError) as error:
            self._failures.warning(str(error), "State report failed, the next one comes at the interval: %s", error)
            return None
        # New to the server, but not for the first time: somebody deleted its record, and with it what was placed here.
        lost = word == "revived" or (word == "new" and self._is_registered)
        self._is_registered = True
        if lost and self._on_revived is not None:
            LOG.info("The server had thought this agent dead, or forgotten it: %s", word)
            self._on_revived()
        return word

    def _send(self) -> str | None:
        while True:
            now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
            try:
                word: str | None = self._client.call(
                    admin_context(),
                    "report_state",
                    timeout=self._timeout,
                    version=self._versions[0],
                    agent_state={"agent_state": self._state()},
                    time=now.isoformat(timespec="microseconds"),
                )
            except RemoteError as error:
                if len(self._versions) == 1 or not is_unknown_method(error):
                    raise
                del self._versions[0]
            else:
                return word

    def _state(self) -> dict[str, Any]:
        first = {} if self._is_registered else {"start_flag": True}
        return {**self._identity, "configurations": dict(self._configurations()), "uuid": str(uuid.uuid4()), **first}
