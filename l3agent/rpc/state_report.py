# SPDX-License-Identifier: Apache-2.0
"""State reports: identity and state of an agent, sent to the server at an interval.

They suit any type of agent. A failed report is logged and raises nothing; the next one is sent after the interval.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import oslo_messaging
from oslo_log import log as logging

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc.client import Client, RemoteError
from l3agent.rpc.compat import is_unknown_method
from l3agent.rpc.context import admin_context
from l3agent.rpc.failure_log import FailureLog

LOG = logging.getLogger(__name__)

TOPIC = "q-reports-plugin"


class StateReporter:
    """Reports the state of one agent.

    :param host: name of this node.
    :param binary: name of the program, as ``neutron-l3-agent``.
    :param topic: topic of the agent's consumers, as ``l3_agent``.
    :param agent_type: as ``L3 agent``.
    :param configurations: called for each report; returns values for the server's schedulers and for operators.
    :param availability_zone: of this node; not sent when None.
    :param timeout: seconds for the answer to one report; use the report interval.
    :param versions: of the server's API, in order of preference; a version that the server lacks is not tried again.
    :param on_revived: called when the server reports that it had marked the agent as down, or had deleted its record:
        messages sent meanwhile are lost.
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
        """Return True if the server has accepted a report, and so has a record of the agent."""
        return self._is_registered

    def report(self) -> str | None:
        """Send one report and return the server's answer: ``new``, ``alive`` or ``revived``; None if it failed."""
        try:
            answer = self._send()
        except (ServerUnavailable, RemoteError) as error:
            self._failures.warning(str(error), "State report failed, retrying after the interval: %s", error)
            return None
        # A second "new": the record of the agent was deleted, and with it the placement of resources on it.
        lost = answer == "revived" or (answer == "new" and self._is_registered)
        self._is_registered = True
        if lost and self._on_revived is not None:
            LOG.info("The server had marked this agent as down or deleted its record: %s", answer)
            self._on_revived()
        return answer

    def _send(self) -> str | None:
        while True:
            now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
            try:
                answer: str | None = self._client.call(
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
                return answer

    def _state(self) -> dict[str, Any]:
        first = {} if self._is_registered else {"start_flag": True}
        return {**self._identity, "configurations": dict(self._configurations()), "uuid": str(uuid.uuid4()), **first}
