# SPDX-License-Identifier: Apache-2.0
"""The operations of the agent's control socket."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from typing import Any

import eventlet

from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.operator_actions import OperatorActions
from l3agent.agent.view import AgentView
from l3agent.exceptions import L3AgentError
from l3agent.ops.control import Operation
from l3agent.ops.replay import replay
from l3agent.ops.status import plans, show, status, topology, traffic

_REPLAY_DEFAULT_S, _REPLAY_MAX_S, _STOP_DELAY_S = 60.0, 86400.0, 0.05

#: Returns the hosts and the network names of a standalone topology, arguments of :func:`l3agent.ops.status.topology`.
TopologyContext = Callable[[], tuple[list[Mapping[str, Any]], Mapping[str, str]]]


def build_operations(
    agent: AgentView,
    actions: OperatorActions,
    dataplane: DataplaneClient,
    topology_context: TopologyContext = lambda: ([], {}),
) -> dict[str, Operation]:
    """Return the operations of an agent by name."""
    return {
        "status": lambda request: status(agent, dataplane),
        "plan": lambda request: plans(agent, dataplane, _router_or_all(request)),
        "show": lambda request: {"router": show(agent, dataplane, _router(request))},
        "traffic": lambda request: {"routers": traffic(agent, dataplane, _router_or_all(request))},
        "topology": lambda request: topology(agent, *topology_context()),
        "resync": lambda request: _resync(agent, actions, dataplane, _router_or_all(request)),
        "replay": lambda request: {"replay": replay(agent, actions, _router(request), _timeout(request))},
        "pause": lambda request: _call_for_router(actions.pause, _router(request)),
        "resume": lambda request: _call_for_router(actions.resume, _router(request)),
        "drain": lambda request: _drain(agent, actions, bool(request.get("undo", False))),
        "stop": lambda request: _stop(agent),
    }


def _router(request: Mapping[str, Any]) -> str:
    router = request.get("router")
    if not isinstance(router, str):
        raise L3AgentError("the request names no router")
    return router


def _router_or_all(request: Mapping[str, Any]) -> str | None:
    return None if request.get("router") is None else _router(request)


def _timeout(request: Mapping[str, Any]) -> float:
    value = request.get("timeout", _REPLAY_DEFAULT_S)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _REPLAY_MAX_S:
        raise L3AgentError(f"timeout: {value!r}: expected seconds, at most {_REPLAY_MAX_S:g}")
    return float(value)


def _call_for_router(step: Callable[[str], None], router_id: str) -> Mapping[str, Any]:
    step(router_id)
    return {}


def _resync(
    agent: AgentView, actions: OperatorActions, dataplane: DataplaneClient, router_id: str | None
) -> Mapping[str, Any]:
    """Fetch from the server and observe the kernel again, without any cached state.

    :raises DataplaneUnavailable: the data plane does not answer.
    """
    dataplane.invalidate(None if router_id is None else agent.router_keys(router_id))
    if router_id is None:
        actions.request_full_sync("requested by an operator")
    else:
        actions.update_router(router_id)
    return {}


def _stop(agent: AgentView) -> Mapping[str, Any]:
    """Stop the agent as SIGTERM does, after the answer was sent.

    :raises L3AgentError: the stop would remove all routers.
    """
    if agent.cleanup_on_shutdown:
        raise L3AgentError("cleanup_on_shutdown is on: a stop removes all routers; to remove them, send SIGTERM")
    eventlet.spawn_after(_STOP_DELAY_S, os.kill, os.getpid(), signal.SIGTERM)
    return {"pid": os.getpid()}


def _drain(agent: AgentView, actions: OperatorActions, undo: bool) -> Mapping[str, Any]:
    before = agent.admin
    if undo:
        actions.undrain()
    else:
        actions.drain()
    state = agent.admin
    if state != before or state == "drained":
        actions.report_soon()
    return {"admin": state, "queue": agent.queue.counts()}
