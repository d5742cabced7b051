# SPDX-License-Identifier: Apache-2.0
"""Logs the warnings of router states: a warning of several routers is one line with a count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from l3agent.rpc import FailureLog

#: New warnings of one router that one update logs.
_WARNINGS_LOGGED = 20
#: Texts of warnings that are kept, to recognise warnings of several routers.
_TEXTS_MAX = 1000


class WarningLog:
    """Logs the new warnings of routers.

    A warning of one router is one line. A warning of several routers, such as an unserved feature that is configured,
    is coalesced: a node with 1,000 routers would log 1,000 lines at each start.

    :param log: the logger.
    """

    def __init__(self, log: Any) -> None:
        self._log = log
        self._repeated = FailureLog(log)
        self._first: dict[str, str] = {}

    def log(self, router_id: str, warnings: Sequence[str]) -> None:
        """Log the new warnings of a router, up to a maximum."""
        for warning in warnings[:_WARNINGS_LOGGED]:
            if len(self._first) >= _TEXTS_MAX:
                self._first.clear()
            if self._first.setdefault(warning, router_id) == router_id:
                self._log.warning("router %s: %s", router_id, warning)
            else:
                self._repeated.warning(warning, "router %s: %s", router_id, warning)
        if len(warnings) > _WARNINGS_LOGGED:
            more = len(warnings) - _WARNINGS_LOGGED
            self._log.warning("router %s: %d more warnings; l3-agentctl show lists them", router_id, more)
