# SPDX-License-Identifier: Apache-2.0
"""Each public name and signature of oslo.service's eventlet backend is ours too, or is listed as different."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Iterator
from typing import Any, cast

import eventlet
import pytest
from oslo_config import cfg
from oslo_service import service as oslo
from oslo_service.backend._eventlet import EventletBackend

import l3agent.service as ours
from l3agent.exceptions import ConfigError
from l3agent.rpc import get_transport
from l3agent.service import Launcher, Manager, ProcessLauncher, Service, ServiceLauncher, loopingcall, threadgroup
from l3agent.testing import running, wait_until

COMPONENTS = {name: value for name, value in EventletBackend.get_service_components().items() if name[0] != "_"}

#: Parameters whose default differs, with the reason; the tests below show the consequences.
DIFFERENT = {
    "ThreadGroup.__init__ thread_pool_size": "unlimited: an eleventh thread would make its caller wait",
    "Service.stop graceful": "with a manager a stop drains; without one the default is the original's",
}


def our(name: str) -> Any:
    for module in (ours, loopingcall, threadgroup):
        if hasattr(module, name):
            return getattr(module, name)
    raise AssertionError(f"{name} is missing")


def functions(thing: Any) -> dict[str, Any]:
    """Return the public callables of a class or function, by name."""
    if not inspect.isclass(thing):
        return {"": thing}
    names = [name for name in dir(thing) if name[0] != "_" and inspect.isfunction(getattr(thing, name))]
    return {name: getattr(thing, name) for name in ["__init__", *names] if inspect.isfunction(getattr(thing, name))}


@pytest.mark.parametrize("name", sorted(COMPONENTS))
def test_a_call_that_the_original_takes_is_taken(name: str) -> None:
    for method, original in functions(COMPONENTS[name]).items():
        function = getattr(our(name), method) if method else our(name)
        given, there = inspect.signature(original).parameters, inspect.signature(function).parameters
        ordered = [one for one in there.values() if one.kind is not one.KEYWORD_ONLY]
        for place, one in enumerate(given.values()):
            where = f"{name}.{method} {one.name}".replace(". ", " ")
            assert ordered[place].name == one.name or one.kind is one.VAR_KEYWORD, where
            same = there[one.name].default == one.default
            assert same != (where in DIFFERENT), f"{where}: {there[one.name].default!r}, not {one.default!r}"
        for one in list(there.values())[len(given) :]:
            assert one.default is not one.empty or one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL), (method, one.name)


def test_options_are_listed_as_by_the_original() -> None:
    assert [group for group, _ in ours.list_opts()] == [group for group, _ in oslo.list_opts()]


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    return conf


class Waiting(Service):
    """Records its calls."""

    def __init__(self) -> None:
        super().__init__(threads=2)
        self.log: list[str] = []
        self.errors: list[Exception] = []

    def start(self) -> None:
        self.log.append("start")
        self.tg.add_thread(eventlet.sleep, 600)

    def stop(self, graceful: bool | None = None) -> bool:
        self.log.append("stop")
        return super().stop(graceful)

    def reset(self) -> None:
        self.log.append("reset")

    def wait(self) -> None:
        self.log.append("wait")
        if self.errors:
            raise self.errors[0]
        super().wait()


@pytest.fixture
def waiting() -> Iterator[Waiting]:
    service = Waiting()
    yield service
    service.tg.stop()


def test_a_service_without_a_manager_has_so_many_threads_and_a_stop_kills_them(waiting: Waiting) -> None:
    assert Service().tg.thread_pool_size == 1000
    waiting.start()
    waiting.start()
    third = eventlet.spawn(waiting.start)
    eventlet.sleep(0.05)
    assert len(waiting.tg.threads) == 2
    third.kill()
    with eventlet.Timeout(30):
        assert waiting.stop()
    assert not waiting.tg.threads
    Service().start()
    Service().reset()


@pytest.mark.parametrize("kind", [Launcher, ServiceLauncher])
def test_wait_of_a_service_is_called_when_it_runs_after_each_reset_and_after_the_stop(
    conf: cfg.ConfigOpts, waiting: Waiting, kind: type[Launcher]
) -> None:
    launcher = kind(conf, "mutate")
    launcher.launch_service(waiting)
    wait_until(lambda: waiting.log == ["start", "wait"])
    launcher.restart()
    wait_until(lambda: waiting.log == ["start", "wait", "reset", "wait"])
    assert len(waiting.tg.threads) == 1  # the service continues
    launcher.stop()
    assert waiting.log[4:] == ["stop", "wait"]
    with eventlet.Timeout(30):
        assert launcher.wait() in (None, 0)


def test_reload_which_is_the_default_starts_and_waits_again(conf: cfg.ConfigOpts, waiting: Waiting) -> None:
    launcher = ours.launch(conf, waiting, no_fork=True)
    wait_until(lambda: waiting.log == ["start", "wait"])
    launcher.restart()
    wait_until(lambda: waiting.log[2:] == ["stop", "wait", "reset", "start", "wait"])
    launcher.stop()


def test_an_error_of_wait_stops_all_like_a_thread_that_dies(conf: cfg.ConfigOpts, waiting: Waiting) -> None:
    waiting.errors.append(RuntimeError("planted"))
    launcher = ours.launch(conf, waiting)
    with eventlet.Timeout(30):
        assert launcher.wait() == 70


@pytest.mark.parametrize("kind", [Launcher, ServiceLauncher])
def test_several_workers_need_the_other_launcher(conf: cfg.ConfigOpts, waiting: Waiting, kind: type[Launcher]) -> None:
    launcher = kind(conf)
    with pytest.raises(ValueError, match=f"workers: 3: {kind.__name__} runs services in this process"):
        launcher.launch_service(waiting, workers=3)
    assert launcher.restart_method == "reload"
    assert waiting.log == []


def test_the_service_gets_the_port_of_the_backdoor(conf: cfg.ConfigOpts, waiting: Waiting) -> None:
    conf.register_opts(oslo.list_opts()[0][1])
    conf.set_override("backdoor_port", "0")
    launcher = Launcher(conf)
    launcher.launch_service(waiting)
    assert waiting.backdoor_port == launcher.backdoor_port > 0
    launcher.stop()


def test_the_wait_interval_is_the_second_argument(conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessLauncher, "handle_signal", lambda self: None)
    launchers = [ProcessLauncher(conf, 0.5, "mutate"), ProcessLauncher(conf, wait_interval=0.5)]
    assert [(one.wait_interval, one.restart_method) for one in launchers] == [(0.5, "mutate"), (0.5, "reload")]


def test_a_handler_of_the_signal_handler_is_called_while_the_hub_is_idle(
    conf: cfg.ConfigOpts, waiting: Waiting
) -> None:
    launcher = ours.launch(conf, waiting)
    ended = eventlet.spawn(launcher.wait)
    wait_until(lambda: "wait" in waiting.log)
    received: list[int] = []
    ours.SignalHandler().add_handler("SIGUSR1", lambda signo, frame: received.append(signo))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_until(lambda: received == [signal.SIGUSR1])
    finally:
        ours.SignalHandler().clear()
        launcher.stop()
        ended.wait()


# ---- neutron.service -------------------------------------------------------------------------------------------


def test_intervals_come_from_the_configuration(conf: cfg.ConfigOpts) -> None:
    def intervals(**given: Any) -> tuple[float, float, float]:
        service = Service.create(binary="x", manager=Manager, conf=conf, host="h", **given)
        return service.report_interval, service.periodic_interval, service.periodic_fuzzy_delay

    assert intervals() == (30, 40, 5)
    conf.register_opts([cfg.IntOpt("periodic_interval", default=7), cfg.IntOpt("periodic_fuzzy_delay", default=0)])
    conf.register_opt(cfg.FloatOpt("report_interval", default=2.5), group="AGENT")
    assert intervals() == (2.5, 7, 0)
    assert intervals(report_interval=0, periodic_interval=1) == (0, 1, 0)


def test_a_manager_gets_its_arguments_by_name(conf: cfg.ConfigOpts) -> None:
    class HostFirst(Manager):
        def __init__(self, host: str | None = None, conf: Any = None) -> None:
            super().__init__(host=host)
            self.given = (host, conf)

    class HostOnly(Manager):
        def __init__(self, host: str) -> None:
            super().__init__(None, host)

    class Bare:
        """A manager without any hook."""

        def __init__(self, **named: Any) -> None:
            self.named = named

    service = Service.create(binary="x", manager=HostFirst, conf=conf, host="node1")
    assert service.manager.given == ("node1", conf)
    assert Service.create(binary="x", manager=HostOnly, conf=conf, host="node1").manager.host == "node1"
    bare = Service.create(binary="x", manager=Bare, conf=conf, host="node1")
    assert bare.manager.named == {"conf": conf, "host": "node1"}
    assert bare.healthy() and bare.ready() and bare.periodic_tasks() == 40
    assert "stop" in bare.manager.not_rpc


def test_swapped_arguments_are_an_error(conf: cfg.ConfigOpts) -> None:
    with pytest.raises(TypeError, match="conf: 'node1' is not a ConfigOpts; pass conf= and host= by name"):
        Manager("node1")
    with pytest.raises(TypeError, match=r"host: .* is not a string"):
        Manager(conf, conf)
    with pytest.raises(ConfigError, match="parameter node: a manager is called with conf= and host= by name"):
        Service.create(binary="x", manager=lambda node, conf: None, conf=conf)
    with pytest.raises(TypeError, match="positional"):
        Service.create("node1", "x", manager=Manager)  # type: ignore[call-arg]


def test_a_bare_manager_runs(conf: cfg.ConfigOpts) -> None:
    class Bare:
        def stop(self) -> None:
            self.stopped = True

    service = Service.create(binary="x", manager=cast(Any, Bare()), conf=conf, host="h")
    service.transport = get_transport(conf, "local:///bare")
    with running(service):
        service.report_state()
    assert service.manager.stopped
