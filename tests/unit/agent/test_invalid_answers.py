# SPDX-License-Identifier: Apache-2.0
"""Answers and notifications of the server that do not have the promised form, and answers that wipe the node."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.agent.follow_up import FollowUp
from l3agent.agent.l3_agent import NETWORK_UPDATE_TOPIC
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import MakeAgent, OpenAgent, ServiceOf, router_state
from tests.support.payloads import a_router

IDS = [f"c{number:07x}-0000-4000-8000-000000000000" for number in range(8)]
ROUTERS = {router_id: a_router(id=router_id) for router_id in IDS}


def local_ids(dataplane: FakeDataplane) -> set[str]:
    return {router_id for kind, router_id in dataplane.states if kind == "router"}


def wait_idle(agent: OpenAgent) -> None:
    wait_until(lambda: agent.full_sync.in_sync and not any(agent.queue.counts().values()), timeout=30)


def resync(agent: OpenAgent) -> None:
    before = agent.full_sync.completed
    agent.full_sync.request("test")
    wait_until(lambda: agent.full_sync.completed > before)
    wait_idle(agent)


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    caplog.set_level(logging.INFO)
    return lambda: [one for one in caplog.records if one.levelno >= logging.WARNING]


@pytest.fixture
def full(
    make_agent: MakeAgent, service_of: ServiceOf, plugin: FakePlugin, dataplane: FakeDataplane
) -> Iterator[OpenAgent]:
    """Return an agent that serves eight routers."""
    plugin.routers = dict(ROUTERS)
    with running(plugin, service_of(agent := make_agent())):
        wait_until(lambda: local_ids(dataplane) == set(IDS))
        wait_idle(agent)
        yield agent


@pytest.mark.feature("sync.invalid-answer")
@pytest.mark.parametrize("bad", [None, "not-a-uuid", 7, {"name": "no id"}, {"id": None}, {"id": ["x"]}, {"id": "../x"}])
def test_an_invalid_element_costs_one_line_and_the_other_routers_are_processed(
    full: OpenAgent,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    warnings: Callable[[], list[logging.LogRecord]],
    bad: Any,
) -> None:
    real = plugin.sync_routers
    plugin.sync_routers = lambda context, **arguments: [*real(context, **arguments), bad]
    plugin.routers[IDS[0]] = a_router(id=IDS[0], gw_port=None)
    resync(full)
    assert router_state(dataplane, IDS[0]).gateway is None
    assert local_ids(dataplane) == set(IDS)
    assert len(warnings()) == 1 and "sync_routers: 1 elements ignored" in warnings()[0].getMessage()
    assert not any(one.exc_info for one in warnings())
    assert not full.queue.failures()


def test_a_router_whose_payload_may_be_the_rejected_one_is_kept(
    full: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, warnings: Callable[[], list[logging.LogRecord]]
) -> None:
    real = plugin.sync_routers

    def sync_routers(context: Any, **arguments: Any) -> list[Any]:
        return [None if one["id"] == IDS[0] else one for one in real(context, **arguments)]

    plugin.sync_routers = sync_routers
    resync(full)
    full.routers_updated(None, [IDS[0], IDS[1]])
    wait_until(lambda: full.queue.failures().get(IDS[0]))
    assert local_ids(dataplane) == set(IDS)
    assert not any(one.exc_info for one in warnings())
    plugin.sync_routers = real
    wait_until(lambda: not full.queue.failures())


@pytest.mark.parametrize("answer", [None, "routers", {"id": 1}, 0])
@pytest.mark.parametrize("method", ["get_router_ids", "sync_routers"])
def test_an_answer_that_is_no_list_is_a_warning_without_traceback_and_asked_for_again(
    full: OpenAgent,
    plugin: FakePlugin,
    dataplane: FakeDataplane,
    warnings: Callable[[], list[logging.LogRecord]],
    method: str,
    answer: Any,
) -> None:
    real, wrong = getattr(plugin, method), [answer]
    setattr(plugin, method, lambda context, **arguments: wrong.pop() if wrong else real(context, **arguments))
    plugin.routers[IDS[0]] = a_router(id=IDS[0], gw_port=None)
    resync(full)
    wait_until(lambda: router_state(dataplane, IDS[0]).gateway is None)
    assert local_ids(dataplane) == set(IDS)
    assert len(warnings()) == 1 and f"{method}: the server answered {answer!r}" in warnings()[0].getMessage()
    assert not any(one.exc_info for one in warnings())


def test_an_id_that_is_no_uuid_is_rejected_once_and_never_retried(
    full: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, warnings: Callable[[], list[logging.LogRecord]]
) -> None:
    real = plugin.get_router_ids
    plugin.get_router_ids = lambda context, **arguments: [*real(context, **arguments), "../../x", None]
    asked = len(plugin.called("sync_routers"))
    resync(full)
    assert [call["router_ids"] for call in plugin.called("sync_routers")[asked:]] == [IDS]
    assert len(warnings()) == 1
    plugin.get_router_ids = real
    casts: list[tuple[str, dict[str, Any]]] = [
        ("routers_updated", {"routers": ["x", {"id": 1}, {}, IDS[0]]}),
        ("routers_updated", {"routers": "everything"}),
        ("routers_updated", {"routers": None}),
        ("router_added_to_agent", {"payload": ["x"]}),
        ("router_deleted", {"router_id": "x/y"}),
        ("router_removed_from_agent", {"payload": {}}),
        ("router_removed_from_agent", {"payload": None}),
    ]
    for method, arguments in casts:
        before = len(warnings())
        plugin.cast_to_agents(method, **arguments)
        wait_until(lambda before=before: len(warnings()) > before)  # type: ignore[misc]
        wait_idle(full)
        assert len(warnings()) == before + 1, method
    plugin.cast_to_agents("network_update", topic=NETWORK_UPDATE_TOPIC, version="1.4", network={})
    eventlet.sleep(0.05)
    assert not any(one.exc_info for one in warnings())
    assert local_ids(dataplane) == set(IDS) and not full.queue.failures()


@pytest.mark.feature("sync.mass-delete-guard")
def test_a_node_that_an_answer_wiped_asks_again_soon_without_the_periodic_sync(
    full: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane, conf: cfg.ConfigOpts
) -> None:
    """[l3agent] resync_interval is an hour here; the first follow-up comes after retry_min."""
    full.mass_delete_guard.confirm_interval = 0.05
    plugin.routers = {}
    full.full_sync.request("test")
    wait_until(lambda: not local_ids(dataplane))
    wait_idle(full)
    plugin.routers = dict(ROUTERS)
    wait_until(lambda: full.periodic_sync_routers_task(None) or local_ids(dataplane) == set(IDS), timeout=10)


def test_follow_ups_back_off_to_the_periodic_sync_and_end_when_the_server_has_recovered() -> None:
    follow_up = FollowUp(first=1, periodic=10)
    delays = []
    for is_suspicious in (True, False, False, False, False, False):
        follow_up.update(is_suspicious=is_suspicious, found_new=False)
        delays.append(follow_up.delay)
    assert delays == [1, 2, 4, 8, None, None]
    follow_up.update(is_suspicious=True, found_new=False)
    follow_up.update(is_suspicious=False, found_new=True)
    assert follow_up.delay is None
