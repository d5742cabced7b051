# SPDX-License-Identifier: Apache-2.0
"""Parts of an agent refer to earlier parts only; operation reads them through a view that cannot change them."""

from __future__ import annotations

import gc
import itertools
from dataclasses import fields
from types import FunctionType, ModuleType
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.agent.view import AgentView
from l3agent.rpc import Client
from tests.support.agents import MakeAgent, OpenAgent


def parts_of(agent: OpenAgent) -> dict[str, Any]:
    parts = {field.name: getattr(agent.parts, field.name) for field in fields(agent.parts)}
    records = parts.pop("records")
    return {field.name: getattr(records, field.name) for field in fields(records)} | parts


def referents(one: Any) -> list[Any]:
    """Return the objects that an object refers to; of a function only its closure and defaults."""
    if isinstance(one, FunctionType):
        return [cell.cell_contents for cell in one.__closure__ or ()] + list(one.__defaults__ or ())
    return [other for other in gc.get_referents(one) if not isinstance(other, type | ModuleType)]


def reachable(start: Any) -> set[int]:
    found, left = set(), referents(start)
    while left:
        one = left.pop()
        if id(one) not in found:
            found.add(id(one))
            left += referents(one)
    return found


def test_no_two_parts_of_an_agent_refer_to_each_other(make_agent: MakeAgent) -> None:
    agent = make_agent()
    parts = parts_of(agent)
    graph = {name: reachable(part) for name, part in parts.items()}
    assert id(parts["queue"]) in graph["workers"], "the walk finds references"
    pairs = itertools.combinations(parts, 2)
    assert [(a, b) for a, b in pairs if id(parts[a]) in graph[b] and id(parts[b]) in graph[a]] == []
    assert [name for name in parts if id(agent) in graph[name]] == [], "a part knows the endpoint"


def test_the_view_of_operation_cannot_change_the_agent(agent: OpenAgent) -> None:
    view = AgentView(agent)
    names = [name for name, member in vars(AgentView).items() if isinstance(member, property)]
    assert len(names) > 10
    for name in names:
        with pytest.raises(AttributeError):
            setattr(view, name, None)
    with pytest.raises(TypeError):
        view.router_info["r"] = None  # type: ignore[index]


def test_calls_to_the_server_have_the_timeout_of_the_option(
    make_agent: MakeAgent, conf: cfg.ConfigOpts, transport: Any
) -> None:
    make_agent()  # registers the option
    conf.set_override("rpc_response_timeout", 7)
    assert Client(transport, "t", timeout=None)._timeout == make_agent().parts.plugin._client._timeout == 7  # type: ignore[attr-defined]
    assert Client(transport, "t", timeout=3)._timeout == 3
