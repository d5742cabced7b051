# SPDX-License-Identifier: Apache-2.0
"""Rules that users of oslo.service 4.8 rely on; each holds for the original and for ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import eventlet
import pytest
from eventlet.event import Event
from oslo_config import cfg
from oslo_service import service as oslo
from oslo_service import threadgroup as oslo_threadgroup

import l3agent.service as ours
from l3agent.testing import wait_until

LIBRARIES = {
    "oslo.service": SimpleNamespace(
        Services=oslo.Services,
        ThreadGroup=oslo_threadgroup.ThreadGroup,
        ServiceLauncher=oslo.ServiceLauncher,
        ProcessLauncher=oslo.ProcessLauncher,
        launch=oslo.launch,
    ),
    "ours": ours,
}


@pytest.fixture(params=sorted(LIBRARIES))
def library(request: pytest.FixtureRequest) -> Any:
    return LIBRARIES[request.param]


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    return conf


@pytest.fixture
def group(library: Any) -> Iterator[Any]:
    group = library.ThreadGroup()
    yield group
    group.stop()


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    with eventlet.Timeout(10):
        yield


class Recorded(oslo.Service):  # type: ignore[misc]
    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def start(self) -> None:
        self.log.append("start")

    def stop(self, graceful: bool = False) -> None:
        self.log.append("stop")
        super().stop(graceful)

    def reset(self) -> None:
        self.log.append("reset")


def test_a_service_is_started_and_parked_until_the_stop(library: Any) -> None:
    services, log = library.Services(), list[str]()
    services.add(Recorded(log))
    assert log == []
    wait_until(lambda: log == ["start"])
    assert len(services.tg.threads) == 1
    assert not services.done.ready()
    services.stop()
    assert log == ["start", "stop"]
    assert services.done.ready()
    wait_until(lambda: not services.tg.threads)


def test_wait_lasts_until_the_stop(library: Any) -> None:
    services, service = library.Services(), Recorded([])
    services.add(service)
    eventlet.sleep(0.01)
    waiter = eventlet.spawn(services.wait)
    eventlet.sleep(0.01)
    assert not waiter.dead
    services.stop()
    waiter.wait()


def test_stop_may_be_called_more_than_once(library: Any) -> None:
    services = library.Services()
    services.add(Recorded([]))
    eventlet.sleep(0.01)
    services.stop()
    services.stop()


def test_restart_by_mutate_only_resets(library: Any) -> None:
    services, log = library.Services(restart_method="mutate"), list[str]()
    services.add(Recorded(log))
    wait_until(lambda: log)
    services.restart()
    services.restart()
    assert log == ["start", "reset", "reset"]
    services.stop()


def test_restart_by_reload_stops_resets_and_starts(library: Any) -> None:
    services, log = library.Services(restart_method="reload"), list[str]()
    services.add(Recorded(log))
    wait_until(lambda: log)
    services.restart()
    wait_until(lambda: len(log) == 4)
    assert log == ["start", "stop", "reset", "start"]
    services.stop()


def test_another_restart_method_is_refused(library: Any, conf: cfg.ConfigOpts) -> None:
    with pytest.raises(ValueError):
        library.Services(restart_method="renew")
    with pytest.raises(ValueError):
        library.launch(conf, Recorded([]), restart_method="renew")


def test_run_service_ends_by_system_exit_when_the_start_fails(library: Any) -> None:
    class Failing(Recorded):
        def start(self) -> None:
            raise ValueError

    with pytest.raises(SystemExit) as exit_:
        library.Services.run_service(Failing([]), Event())
    assert exit_.value.code == 1


def test_the_number_of_workers_chooses_the_launcher(
    library: Any, conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[Any] = []
    for kind in (library.ServiceLauncher, library.ProcessLauncher):
        monkeypatch.setattr(kind, "handle_signal", lambda self: None)
        monkeypatch.setattr(kind, "launch_service", lambda self, service, workers: launched.append(workers))
    kinds = [type(library.launch(conf, Recorded([]), workers=workers)) for workers in (None, 1, 3)]
    assert kinds == [library.ServiceLauncher, library.ServiceLauncher, library.ProcessLauncher]
    assert launched == [None, 1, 3]


@pytest.mark.parametrize("workers", [0, -1])
def test_a_number_of_workers_below_one_is_refused(library: Any, conf: cfg.ConfigOpts, workers: int) -> None:
    with pytest.raises(ValueError):
        library.launch(conf, Recorded([]), workers)


@pytest.mark.parametrize("workers", ["0", "a", "1"])
def test_a_number_of_workers_that_is_none_is_refused(library: Any, conf: cfg.ConfigOpts, workers: str) -> None:
    with pytest.raises(TypeError):
        library.launch(conf, Recorded([]), workers)


def test_what_is_no_service_is_refused(library: Any, conf: cfg.ConfigOpts) -> None:
    with pytest.raises(TypeError):
        library.launch(conf, object())


def test_a_launcher_stops_its_service_also_twice(library: Any, conf: cfg.ConfigOpts) -> None:
    log: list[str] = []
    launcher = library.launch(conf, Recorded(log))
    wait_until(lambda: log)
    launcher.stop()
    assert log == ["start", "stop"]
    launcher.stop()


def test_a_restart_of_the_launcher_calls_the_hooks_of_changed_options(library: Any, conf: cfg.ConfigOpts) -> None:
    called: list[str] = []
    conf.register_mutate_hook(lambda conf, fresh: called.append("hook"))
    launcher = library.launch(conf, Recorded(called), restart_method="mutate")
    wait_until(lambda: called == ["start"])
    launcher.restart()
    assert called == ["start", "hook", "reset"]
    launcher.stop()


def nothing(*_args: Any, **_kwargs: Any) -> None: ...


@pytest.mark.filterwarnings("ignore:Calling add_:DeprecationWarning")
@pytest.mark.parametrize(
    "add",
    [
        lambda group: group.add_timer(1, nothing, 1, "a", b="c"),
        lambda group: group.add_timer_args(1, nothing, ["a"], {"b": "c"}, initial_delay=1, stop_on_exception=False),
        lambda group: group.add_dynamic_timer(nothing, 1, 2, "a", b="c"),
        lambda group: group.add_dynamic_timer_args(
            nothing, ["a"], {"b": "c"}, initial_delay=1, periodic_interval_max=2, stop_on_exception=False
        ),
    ],
    ids=["timer", "timer_args", "dynamic_timer", "dynamic_timer_args"],
)
def test_a_timer_runs_with_its_arguments_until_it_is_stopped(group: Any, add: Any) -> None:
    timer = add(group)
    assert group.timers == [timer]
    assert timer._running
    assert (timer.args, timer.kw) == (("a",), {"b": "c"})
    timer.stop()
    assert not timer._running
    assert group.timers == [timer]
    group.timer_done(timer)
    assert group.timers == []


def test_timers_are_stopped_together(group: Any) -> None:
    timers = [group.add_timer(60, nothing) for _ in range(3)]
    group.stop_timers()
    assert group.timers == []
    assert not any(timer._running for timer in timers)


def test_a_dynamic_timer_waits_for_the_time_that_its_function_returns(group: Any) -> None:
    calls: list[float] = []

    def call() -> float:
        calls.append(time.monotonic())
        return 0.02

    group.add_dynamic_timer(call, None, 60)
    wait_until(lambda: len(calls) == 3)
    assert calls[2] - calls[0] >= 0.04


def test_a_stop_kills_and_forgets(group: Any) -> None:
    group.add_thread(eventlet.sleep, 60)
    eventlet.sleep(0)
    group.stop()
    assert group.threads == group.timers == []


def test_a_graceful_stop_waits(group: Any) -> None:
    done: list[int] = []
    group.add_thread(lambda: (eventlet.sleep(0.05), done.append(1)))
    group.stop(True)
    assert done == [1]
    assert group.threads == []


def test_a_stop_from_within_spares_the_caller(group: Any) -> None:
    stopped, leave = Event(), Event()

    def stop(number: int) -> None:
        if number == 1:
            eventlet.sleep(0.02)
            group.stop()
            stopped.send()
        leave.wait()

    for number in range(4):
        group.add_thread(stop, number)
    stopped.wait()
    assert len(group.threads) == 1
    leave.send()


@pytest.mark.filterwarnings("ignore:.*cancel.*:DeprecationWarning")
def test_cancel_ends_threads_before_they_run_or_at_its_timeout(group: Any) -> None:
    group.add_thread(eventlet.sleep, 0.3)
    group.cancel()
    assert len(group.threads) == 0
    group.add_thread(eventlet.sleep, 60)
    eventlet.sleep(0)
    group.cancel()
    assert len(group.threads) == 1
    group.cancel(timeout=0.05, wait_time=0.02)
    assert len(group.threads) == 0


@pytest.mark.parametrize("graceful", [True, False])
def test_a_service_stops_gracefully_when_asked_to(library: Any, graceful: bool) -> None:
    service, done = oslo.Service(), list[int]()
    service.tg = library.ThreadGroup()
    service.tg.add_thread(lambda: (eventlet.sleep(0.05), done.append(1)))
    eventlet.sleep(0)
    service.stop(graceful)
    eventlet.sleep(0.1)
    assert done == [1] * graceful
