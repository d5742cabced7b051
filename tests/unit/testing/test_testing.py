# SPDX-License-Identifier: Apache-2.0
"""The test helpers for users of the library."""

from __future__ import annotations

import time
from typing import Any

import eventlet
import pytest
from oslo_config import cfg

from l3agent.exceptions import ApplyError, ServerUnavailable
from l3agent.model.states import Key
from l3agent.rpc import Client, Connection, RemoteError, admin_context, get_transport
from l3agent.service import Manager, Service
from l3agent.testing import FakeDataplane, FakePlugin, local_transport, no_leaked_greenthreads, running, wait_until

pytest_plugins = ["pytester"]


class Lazy:
    """A service with a slow start or stop."""

    def __init__(self, start: float = 0, stop: float = 0) -> None:
        self.log: list[str] = []
        self._start, self._stop = start, stop

    def start(self) -> None:
        eventlet.sleep(self._start)
        self.log.append("start")

    def stop(self) -> None:
        eventlet.sleep(self._stop)
        self.log.append("stop")

    def wait(self) -> None: ...

    def reset(self) -> None: ...


def test_services_run_for_the_time_of_the_block() -> None:
    service = Lazy(start=0.02)
    with running(service) as container:
        assert service.log == ["start"]
        assert container.services == [service]
    assert service.log == ["start", "stop"]


def test_services_stop_when_the_block_fails() -> None:
    service = Lazy()
    with pytest.raises(ZeroDivisionError), running(service):
        _ = 1 / 0
    assert service.log == ["start", "stop"]


def test_a_start_that_takes_too_long_is_an_error() -> None:
    with pytest.raises(TimeoutError, match=r"services not started within 0.05 s"), running(Lazy(60), timeout=0.05):
        pass


def test_wait_until_returns_the_result_or_raises_with_the_last_one() -> None:
    answers = iter([0, "", "yes"])
    assert wait_until(lambda: next(answers)) == "yes"
    before = time.monotonic()
    with pytest.raises(TimeoutError, match=r"still \[\] after 0.05 s"):
        wait_until(list, timeout=0.05)
    assert time.monotonic() - before >= 0.05


def test_local_transports_do_not_hear_each_other() -> None:
    class Echo:
        def echo(self, context: Any, value: Any) -> Any:
            return value

    with local_transport() as first, local_transport() as second:
        connection = Connection(first, host="h")
        connection.create_consumer("t", [Echo()])
        connection.consume_in_threads()
        assert Client(first, "t").call(admin_context(), "echo", value=1) == 1
        with pytest.raises(ServerUnavailable):
            Client(second, "t").call(admin_context(), "echo", timeout=0.05, value=1)
        connection.close()


def test_a_greenthread_that_is_left_behind_is_shown_with_its_stack() -> None:
    def forgotten() -> None:
        eventlet.sleep(60)

    left = None
    with pytest.raises(AssertionError, match="in forgotten"), no_leaked_greenthreads(timeout=0.05):
        left = eventlet.spawn(forgotten)
        eventlet.sleep(0)
    assert left is not None
    left.kill()


def test_greenthreads_that_end_are_no_leak() -> None:
    with no_leaked_greenthreads(timeout=30):
        eventlet.spawn(eventlet.sleep, 0.05)
        eventlet.spawn_n(eventlet.sleep, 0.05)


def test_a_service_leaves_no_greenthread_behind() -> None:
    conf = cfg.ConfigOpts()
    conf([])
    with no_leaked_greenthreads(), local_transport(conf) as transport:
        service = Service.create(binary="x", manager=Manager, conf=conf, host="h", transport=transport)
        with running(service):
            Client(transport, "x").call(admin_context(), "agent_updated", payload={})


def test_the_fixtures_are_there_for_pytest(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("pytest_plugins = ['l3agent.testing.fixtures']")
    pytester.makepyfile(
        """
        import eventlet
        def test_transport(local_transport):
            assert local_transport.conf
        def test_leak(no_leaked_greenthreads):
            eventlet.spawn(eventlet.sleep, 60)
            eventlet.sleep(0)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*leaked greenthreads*"])


def test_the_fake_plugin_stores_calls_and_fails_on_request() -> None:
    conf = cfg.ConfigOpts()
    conf([])
    transport = get_transport(conf, "local:///fake-plugin")
    plugin = FakePlugin(transport, [{"id": "r1"}])
    client = Client(transport, "q-l3-plugin", timeout=5)
    with running(plugin):
        plugin.fail_next("sync_routers", LookupError("lost"), times=2)
        for _ in range(2):
            with pytest.raises(RemoteError):
                client.call(admin_context(), "sync_routers", router_ids=["r1"])
        assert client.call(admin_context(), "sync_routers", router_ids=["r1"]) == [{"id": "r1"}]
        assert plugin.called("sync_routers") == [{"router_ids": ["r1"]}] * 3


def test_the_fake_dataplane_stores_states_and_fails_on_request() -> None:
    dataplane = FakeDataplane()
    key: Key = ("router", "r1")
    state: Any = object()
    dataplane.fail_next(ApplyError("refused"))
    assert dataplane.reconcile([(key, state)])[0].error == "refused"
    assert dataplane.inventory()["router"] == []
    assert dataplane.reconcile([(key, state)])[0].operations
    assert not dataplane.reconcile([(key, state)])[0].operations
    assert dataplane.inventory()["router"] == ["r1"]
    dataplane.reconcile([(key, None)])
    assert dataplane.inventory()["router"] == []
    assert len(dataplane.applied) == 3
