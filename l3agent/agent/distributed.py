# SPDX-License-Identifier: Apache-2.0
"""Endpoints for casts about distributed routers, which the server sends to every L3 agent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DistributedRouterCasts:
    """Ignores the casts: this agent has no distributed routers. Without these methods each cast would log an error.

    Versions of the API: 1.2 ``add_arp_entry``, ``del_arp_entry``, 1.3 ``fipnamespace_delete_on_ext_net``.
    """

    def add_arp_entry(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Ignore a new neighbour of a distributed router."""

    def del_arp_entry(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Ignore a deleted neighbour of a distributed router."""

    def fipnamespace_delete_on_ext_net(self, context: Any, ext_net_id: str) -> None:
        """Ignore a deleted external network; only distributed routers have a namespace for one."""
