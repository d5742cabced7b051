# SPDX-License-Identifier: Apache-2.0
"""The RPC library over a real broker with outages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import amqp
import eventlet
import oslo_messaging
import pytest
from oslo_config import cfg

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, RemoteError, Target, admin_context, get_transport
from l3agent.testing import wait_until
from tests.support.rabbit import Rabbit

CONTEXT = admin_context()


class Endpoint:
    target = Target(version="1.0")

    def __init__(self) -> None:
        self.got: list[Any] = []

    def echo(self, context: Any, value: Any) -> Any:
        self.got.append(value)
        return value

    def late(self, context: Any, seconds: float) -> str:
        eventlet.sleep(seconds)
        return "late"

    def fail(self, context: Any) -> None:
        raise LookupError("nothing there")

    def fail_of_its_own_backend(self, context: Any, kind: str) -> None:
        raise {"refused": ConnectionRefusedError(111, "no database"), "late": TimeoutError("no database")}[kind]


class Consumer:
    def __init__(self, url: str, host: str) -> None:
        conf = cfg.ConfigOpts()
        conf([])
        self.endpoint = Endpoint()
        self.lost: list[float] = []
        self.transport = transport = get_transport(conf, url)
        self.connection = Connection(transport, host=host, on_lost=lambda: self.lost.append(time.monotonic()))
        self.connection.create_consumer("topic", [self.endpoint])
        self.connection.consume_in_threads()


@pytest.fixture
def consume(rabbit: Rabbit) -> Iterator[Callable[[str], Consumer]]:
    consumers: list[Consumer] = []

    def consume(host: str = "node1") -> Consumer:
        consumers.append(Consumer(rabbit.url, host))
        return consumers[-1]

    yield consume
    for consumer in consumers:
        consumer.connection.close()


@pytest.fixture
def client(rabbit: Rabbit) -> Iterator[Client]:
    conf = cfg.ConfigOpts()
    conf([])
    transport = get_transport(conf, rabbit.url)
    yield Client(transport, "topic", timeout=5)
    with eventlet.Timeout(10, False):
        transport.cleanup()


def test_calls_casts_fanout_and_errors_are_as_over_local(consume: Any, client: Client) -> None:
    first, second = consume("node1"), consume("node2")
    assert client.call(CONTEXT, "echo", server="node2", value=[1, None]) == [1, None]
    client.cast(CONTEXT, "echo", fanout=True, value="all")
    wait_until(lambda: "all" in first.endpoint.got and "all" in second.endpoint.got)
    for number in range(10):
        client.cast(CONTEXT, "echo", value=number)
    wait_until(lambda: len(first.endpoint.got) + len(second.endpoint.got) == 13)
    assert first.endpoint.got.count("all") == second.endpoint.got.count("all") == 1
    with pytest.raises(RemoteError) as error:
        client.call(CONTEXT, "fail")
    assert (error.value.exc_type, error.value.value) == ("LookupError", "nothing there")


@pytest.mark.parametrize(("kind", "name"), [("refused", "ConnectionRefusedError"), ("late", "TimeoutError")])
def test_the_servers_own_trouble_is_no_trouble_with_the_broker(
    consume: Any, client: Client, kind: str, name: str
) -> None:
    consume("node1")
    with pytest.raises(RemoteError) as error:
        client.call(CONTEXT, "fail_of_its_own_backend", kind=kind)
    assert error.value.exc_type == name and "no database" in error.value.value


def test_a_caller_with_a_monitor_timeout_receives_heartbeats(consume: Any, rabbit: Rabbit) -> None:
    """Neutron's clients do not request it; other users of oslo.messaging's client may."""
    consume()
    conf = cfg.ConfigOpts()
    conf([])
    transport = get_transport(conf, rabbit.url)
    monitored = oslo_messaging.get_rpc_client(transport, Target(topic="topic"), timeout=60, call_monitor_timeout=6)
    assert monitored.call({}, "late", seconds=8) == "late"
    with eventlet.Timeout(10, False):
        transport.cleanup()


def test_a_call_without_a_consumer_fails_at_once(client: Client) -> None:
    before = time.monotonic()
    with pytest.raises(ServerUnavailable, match="this topic has no consumer"):
        client.call(CONTEXT, "echo", server="no-such-node", timeout=60, value=1)
    assert time.monotonic() - before < 45


def test_a_consumer_closes_within_a_second(consume: Any) -> None:
    assert min(_time_of_a_close(consume()) for _ in range(3)) < 4


def test_a_stop_logs_no_warning_and_loses_no_message_that_arrives_meanwhile(
    consume: Any, client: Client, rabbit: Rabbit, caplog: pytest.LogCaptureFixture
) -> None:
    sent = 0
    for number in range(3):
        consumer = consume(f"stopped{number}")
        assert client.call(CONTEXT, "echo", server=f"stopped{number}", value="before") == "before"
        closing = eventlet.spawn(consumer.connection.close)
        for sent in range(1, 1000):
            client.cast(CONTEXT, "echo", server=f"stopped{number}", value=sent)
            if closing.dead:
                break
        closing.wait()
        with amqp.Connection(f"127.0.0.1:{rabbit.port}") as connection:
            left = connection.channel().queue_declare(f"topic.stopped{number}", passive=True).message_count
        assert len(consumer.endpoint.got) - 1 + left == sent
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def _time_of_a_close(consumer: Consumer) -> float:
    before = time.monotonic()
    consumer.connection.close()
    return time.monotonic() - before


@pytest.mark.parametrize("end", [Rabbit.stop, Rabbit.kill], ids=["stopped", "killed"])
def test_consumers_tell_when_the_broker_is_back_and_calls_keep_their_deadline_while_it_is_away(
    consume: Any, client: Client, rabbit: Rabbit, end: Callable[[Rabbit], None], caplog: pytest.LogCaptureFixture
) -> None:
    consumer = consume()
    assert client.call(CONTEXT, "echo", value="before") == "before"
    end(rabbit)
    for what in (client.call, client.cast):
        before = time.monotonic()
        with pytest.raises(ServerUnavailable):
            what(CONTEXT, "echo", value="lost")
        assert time.monotonic() - before < 30
    # More calls than the driver's pool has connections: an abandoned call must release its connection.
    for _ in range(35):
        with pytest.raises(ServerUnavailable):
            client.call(CONTEXT, "echo", timeout=0.05, value="lost")
    assert "Connection pool limit exceeded" not in caplog.text
    assert not consumer.lost
    rabbit.start()
    up = time.monotonic()
    wait_until(lambda: consumer.lost, timeout=20)
    assert consumer.lost[0] - up < 5
    client.cast(CONTEXT, "echo", value="after")
    wait_until(lambda: "after" in consumer.endpoint.got, timeout=10)
    assert client.call(CONTEXT, "echo", timeout=20, value="answered") == "answered"
    assert len(consumer.lost) == 1


def test_a_consumer_closes_soon_without_its_broker(consume: Any, rabbit: Rabbit) -> None:
    consumer = consume()
    rabbit.stop()
    before = time.monotonic()
    consumer.connection.close()
    assert time.monotonic() - before < 9


@pytest.mark.parametrize(
    ("right", "wrong", "reason"),
    [(":guest@", ":other@", "ACCESS_REFUSED - Login was refused"), ("/", "/elsewhere", "vhost elsewhere not found")],
    ids=["password", "virtual host"],
)
def test_a_refused_connection_is_one_line_of_error(rabbit: Rabbit, right: str, wrong: str, reason: str) -> None:
    head, _, tail = rabbit.url.rpartition(right)
    with pytest.raises(ServerUnavailable, match=f"transport_url: the broker refuses the connection: .*{reason}"):
        Consumer(f"{head}{wrong}{tail}", "node1")


def _delete_exchange(rabbit: Rabbit, name: str) -> None:
    with amqp.Connection(f"127.0.0.1:{rabbit.port}") as connection:
        connection.channel().exchange_delete(name)


def test_a_deleted_exchange_is_declared_again_after_a_failed_call_and_reported(rabbit: Rabbit, client: Client) -> None:
    consumer = Consumer(rabbit.url, "node1")
    try:
        reporting = Client(consumer.transport, "reports", timeout=10)
        with pytest.raises(ServerUnavailable):  # no server is a failure of the caller only
            reporting.call(CONTEXT, "report")
        client.cast(CONTEXT, "echo", server="node1", value="before")
        wait_until(lambda: "before" in consumer.endpoint.got)
        _delete_exchange(rabbit, "neutron")
        assert not consumer.lost
        with pytest.raises(ServerUnavailable):
            client.call(CONTEXT, "echo", server="node1", value="lost")
        wait_until(lambda: _fails(reporting) and consumer.lost, timeout=60)
        assert client.call(CONTEXT, "echo", server="node1", timeout=30, value="after") == "after"
        assert len(consumer.lost) == 1
    finally:
        consumer.connection.close()


def _fails(reporting: Client) -> bool:
    with pytest.raises(ServerUnavailable):
        reporting.call(CONTEXT, "report")
    eventlet.sleep(0.5)
    return True
