# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import eventlet
import pytest
from oslo_config import cfg
from oslo_service import periodic_task
from oslo_service import service as oslo_service

from l3agent.exceptions import ConfigError
from l3agent.rpc import Client, RemoteError, Target, admin_context, get_transport
from l3agent.service import Manager, Service
from l3agent.service.services import Services
from l3agent.testing import running, wait_until


class Recorder(Manager):
    """Records its calls."""

    target = Target(version="1.1")

    def __init__(self, conf: cfg.ConfigOpts, host: str) -> None:
        super().__init__(conf, host)
        self.log: list[str] = []
        self.hook: Any = None

    def init_host(self) -> None:
        self.log.append("init_host")

    def initialize_service_hook(self, service: Service) -> None:
        self.log.append("hook")
        if self.hook:
            self.hook(service)

    def after_start(self) -> None:
        self.log.append("after_start")

    def reset(self) -> None:
        self.log.append("reset")

    def report_state(self) -> None:
        self.log.append("report")

    def stop(self, graceful: bool = True) -> None:
        self.log.append(f"stop {graceful}")

    def echo(self, context: Any, value: Any) -> Any:
        self.log.append("echo")
        return value

    def work(self, context: Any, seconds: float) -> None:
        eventlet.sleep(seconds)
        self.log.append("worked")

    @periodic_task.periodic_task(spacing=0.01, run_immediately=True)
    def tick(self, context: Any) -> None:
        self.log.append(f"tick {context.is_admin}")


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([])
    return conf


@pytest.fixture
def transport(conf: cfg.ConfigOpts) -> Any:
    return get_transport(conf, f"local:///{uuid.uuid4()}")


@pytest.fixture
def service(conf: cfg.ConfigOpts, transport: Any) -> Iterator[Service]:
    service = Service.create(
        binary="recorder",
        manager=Recorder,
        conf=conf,
        host="node1",
        transport=transport,
        report_interval=0,
        periodic_interval=0,
        periodic_fuzzy_delay=0,
    )
    yield service
    service.stop(graceful=False)


@pytest.fixture
def client(transport: Any) -> Client:
    return Client(transport, "recorder", version="1.1", timeout=5)


def test_start_goes_through_its_steps_in_order(service: Service) -> None:
    service.start()
    assert service.manager.log == ["init_host", "hook", "after_start"]


def test_the_manager_answers_calls_when_the_start_is_over(service: Service, client: Client) -> None:
    service.start()
    assert client.call(admin_context(), "echo", value=[1]) == [1]
    assert client.call(admin_context(), "echo", server="node1", value=[2]) == [2]
    client.cast(admin_context(), "echo", fanout=True, value=[3])
    wait_until(lambda: service.manager.log.count("echo") == 3)


def test_the_hook_may_add_a_consumer(service: Service, transport: Any) -> None:
    service.manager.hook = lambda service: service.conn.create_consumer("other", [service.manager])
    service.start()
    assert Client(transport, "other", timeout=5).call(admin_context(), "echo", value=1) == 1


@pytest.mark.parametrize("method", ["stop", "reset", "init_host", "after_start", "report_state", "conf", "_fill"])
def test_the_life_of_a_service_is_not_in_the_hands_of_callers(service: Service, client: Client, method: str) -> None:
    service.start()
    before = list(service.manager.log)
    with pytest.raises(RemoteError) as error:
        client.call(admin_context(), method)
    assert error.value.exc_type == "NoSuchMethod"
    assert service.manager.log == before


def test_agent_updated_can_be_called(service: Service, client: Client) -> None:
    service.start()
    assert client.call(admin_context(), "agent_updated", payload={"admin_state_up": True}) is None


def test_timers_run_the_report_and_the_periodic_tasks(service: Service) -> None:
    service.report_interval = service.periodic_interval = 0.02
    service.start()
    wait_until(lambda: service.manager.log.count("report") > 1 and service.manager.log.count("tick True") > 1)


def test_a_task_runs_at_its_spacing_however_long_the_periodic_interval_is(service: Service) -> None:
    """In the original a task with a spacing of 1 s runs every 40 s, the interval of its timer."""
    service.periodic_interval = 40
    service.start()
    wait_until(lambda: service.manager.log.count("tick True") > 3)


def test_tasks_run_at_their_spacing(conf: cfg.ConfigOpts, transport: Any) -> None:
    class Tasks(Manager):
        def __init__(self, conf: cfg.ConfigOpts, host: str) -> None:
            super().__init__(conf, host)
            self.log: list[str] = []

        @periodic_task.periodic_task(spacing=30)
        def late(self, context: Any) -> None:
            self.log.append("late")

        @periodic_task.periodic_task(spacing=30, run_immediately=True)
        def at_once(self, context: Any) -> None:
            self.log.append("at once")

        @periodic_task.periodic_task(spacing=0.02, run_immediately=True, external_process_ok=True)
        def external(self, context: Any) -> None:
            self.log.append("external")

        @periodic_task.periodic_task(spacing=0.02, run_immediately=True)
        def failing(self, context: Any) -> None:
            self.log.append("failing")
            raise RuntimeError("x")

    def ran(**overrides: Any) -> list[str]:
        for name, value in overrides.items():
            conf.set_override(name, value)
        service = Service.create(
            binary="tasks", manager=Tasks, conf=conf, host="h", transport=transport, periodic_fuzzy_delay=0
        )
        with running(service):
            wait_until(lambda: service.manager.log.count("failing") >= 3)
        return list(service.manager.log)

    log = ran()
    assert (log.count("late"), log.count("at once")) == (0, 1)
    assert log.count("external") >= 3
    # Tasks for another process do not run.
    assert "external" not in ran(run_external_periodic_tasks=False)


def test_the_health_of_a_service_is_its_managers(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert service.healthy()
    monkeypatch.setattr(service.manager, "healthy", lambda: False)
    assert not service.healthy()


def test_the_first_report_comes_after_one_interval(service: Service) -> None:
    service.report_interval = 0.2
    service.start()
    before = time.monotonic()
    wait_until(lambda: "report" in service.manager.log)
    assert time.monotonic() - before > 0.15


def test_an_error_in_a_report_does_not_end_the_reports(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def fail() -> None:
        calls.append(1)
        raise RuntimeError("x")

    monkeypatch.setattr(service.manager, "report_state", fail)
    service.report_interval = 0.01
    service.start()
    wait_until(lambda: len(calls) > 2)


def test_stop_before_start_is_safe(service: Service) -> None:
    service.stop()
    service.wait()
    assert service.manager.log == []


def test_stop_takes_no_more_messages_and_then_stops_the_manager(service: Service, client: Client) -> None:
    service.start()
    service.stop()
    client.cast(admin_context(), "echo", value=1)
    eventlet.sleep(0.02)
    assert service.manager.log[-1] == "stop True"


def test_stop_waits_for_the_message_in_flight(service: Service, client: Client) -> None:
    service.start()
    client.cast(admin_context(), "work", seconds=0.1)
    eventlet.sleep(0.01)
    service.stop()
    assert service.manager.log[-2:] == ["worked", "stop True"]


def test_stop_ends_within_the_deadline_and_kills_what_is_left(
    service: Service, conf: cfg.ConfigOpts, caplog: pytest.LogCaptureFixture
) -> None:
    conf.set_override("graceful_shutdown_timeout", 1)
    service.start()
    service.tg.add_thread(eventlet.sleep, 60)
    eventlet.sleep(0)
    before = time.monotonic()
    assert not service.stop()
    assert 0.8 < time.monotonic() - before < 30
    assert "Killed after" in caplog.text


def test_a_message_in_flight_may_use_the_whole_deadline(
    service: Service, client: Client, conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disconnect has a shorter deadline, for an unreachable broker."""
    monkeypatch.setattr("l3agent.rpc.connection.DISCONNECT_TIMEOUT_S", 0.1)
    service.start()
    client.cast(admin_context(), "work", seconds=0.5)
    eventlet.sleep(0.01)
    assert service.stop()
    assert service.manager.log[-2:] == ["worked", "stop True"]


def test_what_did_not_come_to_its_end_makes_the_exit_status_1(
    service: Service, client: Client, conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("l3agent.rpc.connection.DISCONNECT_TIMEOUT_S", 0.1)
    conf.set_override("graceful_shutdown_timeout", 1)

    def hang(graceful: bool) -> None:
        eventlet.sleep(60)

    def work() -> None:
        client.cast(admin_context(), "work", seconds=60)
        eventlet.sleep(0.01)

    lasting: dict[str, Callable[[], Any]] = {
        "a thread": lambda: service.tg.add_thread(eventlet.sleep, 60),
        "a message": work,
        "a manager": lambda: monkeypatch.setattr(service.manager, "stop", hang),
    }
    for what, begin in lasting.items():
        services = Services()
        services.add(service)
        services.wait_started()
        begin()
        eventlet.sleep(0)
        assert not services.stop(), what
    assert "1 messages in flight were not processed" in caplog.text


def test_an_unanswered_report_does_not_delay_the_stop(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[int] = []

    def report() -> None:
        reports.append(1)
        eventlet.sleep(60)

    monkeypatch.setattr(service.manager, "report_state", report)
    service.report_interval = 0.01
    service.start()
    wait_until(lambda: bool(reports))
    with eventlet.Timeout(30):
        assert service.stop()


def test_a_manager_that_fails_to_stop_leaves_no_thread_behind(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(graceful: bool) -> None:
        raise RuntimeError("x")

    service.start()
    thread = service.tg.add_thread(eventlet.sleep, 0.05)
    monkeypatch.setattr(service.manager, "stop", fail)
    service.stop()
    assert thread.thread.dead


def test_a_stopped_service_can_be_started_again(service: Service, client: Client) -> None:
    for _ in range(2):
        service.start()
        assert client.call(admin_context(), "echo", value=1) == 1
        service.stop()


def test_reset_goes_to_the_manager(service: Service) -> None:
    service.reset()
    assert service.manager.log == ["reset"]


def test_a_service_runs_under_the_launcher_of_oslo(service: Service, conf: cfg.ConfigOpts, client: Client) -> None:
    launcher = oslo_service.Launcher(conf)
    launcher.launch_service(service)
    wait_until(lambda: "after_start" in service.manager.log)
    assert client.call(admin_context(), "echo", value=1) == 1
    launcher.stop()
    launcher.wait()
    assert service.manager.log[-1] == "stop True"


def test_a_thousand_services_start_and_stop(conf: cfg.ConfigOpts, transport: Any) -> None:
    services = [
        Service.create(binary="many", manager=Manager, conf=conf, host=str(number), transport=transport)
        for number in range(1000)
    ]
    with running(*services, timeout=60):
        assert all(service.conn is not None for service in services)
    assert all(service.conn is None for service in services)


def test_create_takes_the_topic_from_the_binary_and_the_host_from_the_options(conf: cfg.ConfigOpts) -> None:
    conf.register_opt(cfg.StrOpt("host", default="node7"))
    service = Service.create(binary="neutron-x-agent", manager=Recorder, conf=conf)
    assert (service.topic, service.host, service.manager.host) == ("x-agent", "node7", "node7")


def test_create_takes_a_manager_by_its_dotted_path(conf: cfg.ConfigOpts) -> None:
    service = Service.create(binary="x", manager="l3agent.service.Manager", conf=conf, host="h")
    assert type(service.manager) is Manager


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"manager": Recorder}, "neither binary nor topic"),
        ({"binary": "x"}, "manager is missing"),
        ({"binary": "x", "manager": "no.such.Class"}, "no.such.Class"),
    ],
)
def test_the_error_of_create_names_the_missing_argument(
    conf: cfg.ConfigOpts, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Service.create(**arguments, conf=conf)
