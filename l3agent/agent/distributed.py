# SPDX-License-Identifier: Apache-2.0
"""What the server tells every L3 agent about distributed routers, whether it has one or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class DistributedRouterCasts:
    """Takes the casts and does nothing: there is no distributed router here. Unknown methods would be logged as errors.

    In its versions of the API: 1.2 ``add_arp_entry``, ``del_arp_entry``, 1.3 ``fipnamespace_delete_on_ext_net``.
    """

    def add_arp_entry(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Ignore a neighbour of a distributed router."""

    def del_arp_entry(self, context: Any, payload: Mapping[str, Any]) -> None:
        """Ignore that a neighbour of a distributed router is gone."""

    def fipnamespace_delete_on_ext_net(self, context: Any, ext_net_id: str) -> None:
        """Ignore that an external network is gone; only distributed routers have a namespace for one."""
