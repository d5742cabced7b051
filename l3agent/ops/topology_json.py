# SPDX-License-Identifier: Apache-2.0
"""The topology as JSON, for clients that read it every few seconds: a router is encoded again only when it changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from l3agent.agent.router_info import RouterInfo
from l3agent.agent.view import AgentView
from l3agent.ops.status import describe_topology

#: Input of :func:`describe_topology`; states are immutable, so their identity suffices.
_Version = tuple[object, str, str]


class TopologyEncoder:
    """Encodes the topology of an agent.

    :param topology_context: returns the hosts and the network names by id, arguments of
        :func:`l3agent.ops.status.topology`.
    """

    def __init__(
        self, agent: AgentView, topology_context: Callable[[], tuple[list[Mapping[str, Any]], Mapping[str, str]]]
    ) -> None:
        self._agent = agent
        self._topology_context = topology_context
        self._encoded: dict[str, tuple[_Version, str]] = {}

    def encode(self) -> bytes:
        """Return the JSON of :func:`l3agent.ops.status.topology`."""
        hosts, names = self._topology_context()
        previous, self._encoded = self._encoded, {}
        for info in self._agent.router_info.values():
            self._encoded[info.id] = _encode_router(info, previous.get(info.id))
        rest = json.dumps({"host": self._agent.host, "hosts": hosts, "networks": names})
        routers = ", ".join(text for _, text in self._encoded.values())
        return f'{rest[:-1]}, "routers": [{routers}]}}'.encode()


def _encode_router(info: RouterInfo, previous: tuple[_Version, str] | None) -> tuple[_Version, str]:
    if previous is not None and previous[0][0] is info.state and previous[0][1:] == (info.status, info.name):
        return previous
    return (info.state, info.status, info.name), json.dumps(describe_topology(info))
