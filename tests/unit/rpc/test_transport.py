# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import eventlet
import oslo_messaging
import pytest
from oslo_config import cfg

from l3agent.exceptions import ConfigError, ServerUnavailable
from l3agent.rpc import Client, Connection, RemoteError, admin_context, get_transport
from l3agent.rpc.deadline import Deadline, time_limit
from tests.support.rabbit import free_ports

CONTEXT = admin_context()
Call = Callable[..., Any]


class ScriptedTransport:
    """Replaces a driver: each call runs the next step of a script."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf
        self.script: list[Any] = []
        self.timeouts: list[float] = []

    def _send(self, target: Any, ctxt: Any, message: Any, *, timeout: float | None = None, **_: Any) -> Any:
        self.timeouts.append(timeout or 0)
        action = self.script.pop(0)
        if isinstance(action, BaseException):
            raise action
        return action() if callable(action) else action


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([])
    return conf


@pytest.fixture
def scripted(conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Client, ScriptedTransport]]:
    transport = get_transport(conf, f"local:///{uuid.uuid4()}")
    script = ScriptedTransport(conf)
    monkeypatch.setattr(transport, "_send", script._send)
    monkeypatch.setattr(transport._driver, "enforces_timeouts", False)  # as in all other drivers
    yield Client(transport, "topic", timeout=0.1, max_timeout=0.4), script


def timed_out() -> Exception:
    timeout: Exception = oslo_messaging.MessagingTimeout("no reply")
    return timeout


def test_the_control_exchange_is_neutrons_unless_set(tmp_path: Path, conf: cfg.ConfigOpts) -> None:
    get_transport(conf, "local://")
    assert conf.control_exchange == "neutron"
    (tmp_path / "c").write_text("[DEFAULT]\ncontrol_exchange = ours\n")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(tmp_path / "c")])
    get_transport(conf, "local://")
    assert conf.control_exchange == "ours"


def test_rabbit_is_asked_again_soon_unless_set_otherwise(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("[oslo_messaging_rabbit]\nrabbit_retry_interval = 7\n")
    conf = cfg.ConfigOpts()
    conf(["--config-file", str(tmp_path / "c")])
    get_transport(conf, "rabbit://")
    rabbit = conf.oslo_messaging_rabbit
    assert (rabbit.rabbit_retry_interval, rabbit.rabbit_interval_max, rabbit.rabbit_retry_backoff) == (7, 1, 0)


def test_what_a_queue_is_declared_with_stays_as_neutron_has_it(conf: cfg.ConfigOpts) -> None:
    get_transport(conf, "rabbit://")
    rabbit = conf.oslo_messaging_rabbit
    assert not rabbit.amqp_durable_queues
    assert not rabbit.rabbit_quorum_queue
    assert not rabbit.amqp_auto_delete
    assert rabbit.rabbit_transient_queues_ttl == 1800


@pytest.mark.parametrize("url", ["no-such-driver://", "rabbit://me:secret@[::1"])
def test_a_bad_url_is_a_configuration_error_that_keeps_the_password(conf: cfg.ConfigOpts, url: str) -> None:
    with pytest.raises(ConfigError, match=r"^transport_url: ") as error:
        get_transport(conf, url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("password", ["s3cr/et", "s3cr#et", "s3cr?et", "s3cr/e@t", "/s3cret", "s3cr\\/et", "s3cr[et"])
@pytest.mark.parametrize(
    "form", ["rabbit://user:{}@host/", "rabbit://one:pw1@a,user:{}@host:56/v", "rabbit://user:{}@"]
)
def test_the_error_for_an_invalid_url_has_no_password_but_a_hint(
    conf: cfg.ConfigOpts, form: str, password: str
) -> None:
    with pytest.raises(ConfigError, match=r"^transport_url: rabbit://(user|one):\*\*\*@") as error:
        get_transport(conf, form.format(password))
    assert "cannot be parsed" in str(error.value) and "%2F" in str(error.value) and "%23" in str(error.value)
    # Not in the traceback either.
    told = "".join(one for one in traceback.format_exception(error.value) if not one.startswith("  File"))
    assert not [part for part in ("s3cr", "et@", "pw1") if part in told], told


@pytest.mark.parametrize("url", ["user:secret@host", "//user:secret@host"])
def test_a_url_without_its_beginning_keeps_the_password_too(conf: cfg.ConfigOpts, url: str) -> None:
    with pytest.raises(ConfigError, match=r":\*\*\*@host") as error:
        get_transport(conf, url)
    assert "secret" not in str(error.value)


def test_two_transports_of_one_configuration_are_fine(conf: cfg.ConfigOpts) -> None:
    get_transport(conf, "local://")
    get_transport(conf, "rabbit://")


def test_the_time_for_a_call_doubles_with_each_timeout_up_to_its_bound(scripted: Any) -> None:
    client, transport = scripted
    transport.script = [timed_out() for _ in range(4)]
    for _ in range(4):
        with pytest.raises(ServerUnavailable):
            client.call(CONTEXT, "m")
    assert transport.timeouts == [0.1, 0.2, 0.4, 0.4]


def test_each_method_has_a_time_of_its_own(scripted: Any) -> None:
    client, transport = scripted
    transport.script = [timed_out(), 1]
    with pytest.raises(ServerUnavailable):
        client.call(CONTEXT, "slow")
    client.call(CONTEXT, "quick")
    assert transport.timeouts == [0.1, 0.1]


def test_the_time_goes_back_to_what_answers_need(scripted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, transport = scripted
    clock: Any = SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("l3agent.rpc.client.time", clock)
    transport.script = [timed_out(), timed_out(), lambda: setattr(clock, "now", 0.12), lambda: 1, lambda: 1]
    for _ in range(2):
        with pytest.raises(ServerUnavailable):
            client.call(CONTEXT, "m")
    for _ in range(3):
        client.call(CONTEXT, "m")
    assert transport.timeouts[2] == 0.4
    assert transport.timeouts[3] == 0.24
    assert transport.timeouts[4] == 0.1


def test_a_timeout_given_with_the_call_is_kept_and_leaves_the_others_alone(scripted: Any) -> None:
    client, transport = scripted
    transport.script = [timed_out(), 1]
    with pytest.raises(ServerUnavailable):
        client.call(CONTEXT, "m", timeout=0.05)
    client.call(CONTEXT, "m")
    assert transport.timeouts == [0.05, 0.1]


def test_a_driver_that_blocks_and_holds_on_does_not_hold_the_caller(scripted: Any) -> None:
    """Wait for a lock even while interrupted, as the rabbit driver does without a broker."""
    client, transport = scripted

    def hold_on() -> None:
        try:
            eventlet.sleep(5)
        finally:
            eventlet.sleep(5)

    for what in (client.call, client.cast):
        transport.script = [hold_on]
        before = time.monotonic()
        with pytest.raises(ServerUnavailable, match=r"topic.m: no answer within"):
            what(CONTEXT, "m")
        assert time.monotonic() - before < 4


def test_what_the_driver_sees_at_the_deadline_is_an_exception(scripted: Any) -> None:
    """Its pool releases a connection for an ``Exception`` only; other errors would exhaust the pool."""
    client, transport = scripted
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            eventlet.sleep(5)
        except Exception as error:
            seen.append(error)
            raise

    transport.script = [wait]
    with pytest.raises(ServerUnavailable):
        client.call(CONTEXT, "m")
    assert len(seen) == 1


def test_a_caller_that_is_killed_takes_its_call_along(scripted: Any) -> None:
    client, transport = scripted
    ended: list[int] = []

    def wait() -> None:
        try:
            eventlet.sleep(5)
        finally:
            ended.append(1)

    transport.script = [wait]
    caller = eventlet.spawn(client.call, CONTEXT, "m")
    eventlet.sleep(0.01)
    caller.kill()
    assert ended


@pytest.mark.parametrize(
    "error", [oslo_messaging.MessageDeliveryFailure("x"), ConnectionRefusedError("x"), OSError("x")]
)
def test_trouble_with_the_broker_is_plugin_unavailable(scripted: Any, error: Exception) -> None:
    client, transport = scripted
    transport.script = [error]
    with pytest.raises(ServerUnavailable, match=r"topic.m: "):
        client.call(CONTEXT, "m")


def test_a_remote_error_passes_as_it_is(scripted: Any) -> None:
    client, transport = scripted
    transport.script = [RemoteError("AgentNotFoundByTypeHost", "no agent")]
    with pytest.raises(RemoteError) as error:
        client.call(CONTEXT, "m")
    assert error.value.exc_type == "AgentNotFoundByTypeHost"


def test_a_broker_that_is_not_there_costs_no_more_than_the_deadline(conf: cfg.ConfigOpts) -> None:
    client = Client(get_transport(conf, f"rabbit://127.0.0.1:{free_ports(1)[0]}/"), "topic", timeout=0.2)
    for what in (client.call, client.cast):
        before = time.monotonic()
        with pytest.raises(ServerUnavailable):
            what(CONTEXT, "m")
        assert time.monotonic() - before < 30


def test_a_connection_that_never_consumed_closes(conf: cfg.ConfigOpts) -> None:
    connection = Connection(get_transport(conf, "local://"), host="h")
    connection.create_consumer("topic", [object()])
    with eventlet.Timeout(30):
        connection.close()


def test_a_start_without_a_broker_can_be_killed_and_closed(conf: cfg.ConfigOpts) -> None:
    connection = Connection(get_transport(conf, f"rabbit://127.0.0.1:{free_ports(1)[0]}/"), host="h")
    connection.create_consumer("topic", [object()])
    starting = eventlet.spawn(connection.consume_in_threads)
    eventlet.sleep(0.1)
    assert not starting.dead
    with eventlet.Timeout(30):
        starting.kill()
        connection.close()


def test_a_time_limit_is_a_timeout_error() -> None:
    with pytest.raises(TimeoutError, match=r"not done within 0.01 s"), time_limit(0.01):
        eventlet.sleep(5)


def test_a_time_limit_further_out_passes_the_inner_ones() -> None:
    inner: list[str] = []
    with pytest.raises(TimeoutError), time_limit(0.01):
        try:
            with time_limit(5):
                eventlet.sleep(5)
        except TimeoutError:
            inner.append("converted too early")
    assert inner == []


def test_a_deadline_is_shared_by_its_steps() -> None:
    deadline = Deadline(0.1)
    eventlet.sleep(0.05)
    left = deadline.remaining()
    assert left is not None and 0 < left < 0.06
    eventlet.sleep(0.06)
    assert (deadline.remaining(), deadline.remaining(at_least=1), Deadline(None).remaining(1)) == (0, 1, None)
