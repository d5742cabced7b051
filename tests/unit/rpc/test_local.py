# SPDX-License-Identifier: Apache-2.0
"""The driver of local://, through the interface of oslo.messaging."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import eventlet
import oslo_messaging
import pytest
from oslo_config import cfg

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, RemoteError, Target, admin_context, get_transport, local_queues
from l3agent.testing import wait_until

CONTEXT = admin_context()


class Endpoint:
    target = Target(version="1.3")

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.holding = False
        self.let_go = eventlet.Event()

    def held(self, context: Any) -> Any:
        self.holding = True
        return self.let_go.wait()

    def keep(self, context: Any, value: Any) -> None:
        self.got.append(value)

    def echo(self, context: Any, value: Any) -> Any:
        self.got.append(value)
        return value

    def who(self, context: Any) -> Any:
        return context.to_dict()

    def late(self, context: Any, seconds: float) -> str:
        eventlet.sleep(seconds)
        return "late"

    def fail(self, context: Any) -> None:
        raise KeyError("nothing there")

    def fail_of_its_own_backend(self, context: Any, kind: str) -> None:
        raise {"refused": ConnectionRefusedError(111, "no database"), "late": TimeoutError("no database")}[kind]

    def fail_in_its_own_way(self, context: Any) -> None:
        raise ServerUnavailable("busy")


@pytest.fixture
def conf() -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    conf([])
    return conf


@pytest.fixture
def url() -> str:
    return f"local:///{uuid.uuid4()}"


@pytest.fixture
def listen(conf: cfg.ConfigOpts, url: str) -> Iterator[Callable[..., tuple[Endpoint, Connection]]]:
    connections: list[Connection] = []

    def listen(host: str = "node1", topic: str = "topic") -> tuple[Endpoint, Connection]:
        endpoint = Endpoint()
        connections.append(Connection(get_transport(conf, url), host=host))
        connections[-1].create_consumer(topic, [endpoint])
        connections[-1].consume_in_threads()
        return endpoint, connections[-1]

    yield listen
    for connection in connections:
        connection.close()


@pytest.fixture
def client(conf: cfg.ConfigOpts, url: str) -> Client:
    return Client(get_transport(conf, url), "topic", version="1.3", timeout=5)


def test_a_call_returns_the_answer_as_json_would_carry_it(listen: Any, client: Client) -> None:
    listen()
    assert client.call(CONTEXT, "echo", value={"a": (1, 2), "b": None}) == {"a": [1, 2], "b": None}


def test_neither_side_sees_changes_that_the_other_makes(listen: Any, client: Client) -> None:
    endpoint, _ = listen()
    sent = {"list": [1]}
    answer = client.call(CONTEXT, "echo", value=sent)
    sent["list"].append(2)
    answer["list"].append(3)
    assert endpoint.got == [{"list": [1]}]


def test_a_large_payload_passes(listen: Any, client: Client) -> None:
    listen()
    value = [{"id": str(number), "text": "x" * 100} for number in range(5000)]
    assert client.call(CONTEXT, "echo", value=value) == value


def test_the_context_arrives(listen: Any, client: Client) -> None:
    listen()
    assert client.call(CONTEXT, "who") == CONTEXT.to_dict()


@pytest.mark.parametrize(("kind", "name"), [("refused", "ConnectionRefusedError"), ("late", "TimeoutError")])
def test_the_servers_own_trouble_is_no_trouble_with_the_broker(
    listen: Any, client: Client, kind: str, name: str
) -> None:
    listen()
    with pytest.raises(RemoteError) as error:
        client.call(CONTEXT, "fail_of_its_own_backend", kind=kind)
    assert error.value.exc_type == name and "no database" in error.value.value


@pytest.mark.parametrize(
    ("method", "exc_type", "value"),
    [
        ("fail", "KeyError", "'nothing there'"),
        ("fail_in_its_own_way", "ServerUnavailable", "busy"),
        ("no_such_method", "NoSuchMethod", "Endpoint does not support RPC method no_such_method"),
    ],
)
def test_an_error_is_carried_back(listen: Any, client: Client, method: str, exc_type: str, value: str) -> None:
    listen()
    with pytest.raises(RemoteError) as error:
        client.call(CONTEXT, method)
    assert (error.value.exc_type, error.value.value) == (exc_type, value)


def test_a_version_that_the_endpoint_does_not_have_is_refused(listen: Any, client: Client) -> None:
    listen()
    with pytest.raises(RemoteError) as error:
        client.call(CONTEXT, "echo", version="1.4", value=1)
    assert error.value.exc_type == "UnsupportedVersion"


def test_an_at_least_once_message_without_a_listener_is_refused_at_once(listen: Any, client: Client) -> None:
    for send in (client.call, partial(client.cast, at_least_once=True)):
        with eventlet.Timeout(4), pytest.raises(ServerUnavailable, match=r"topic.echo: this topic has no consumer"):
            send(CONTEXT, "echo", value=1)
    endpoint, _ = listen()
    client.cast(CONTEXT, "keep", at_least_once=True, value="taken")
    wait_until(lambda: endpoint.got)


def test_a_call_whose_caller_is_gone_is_not_begun(listen: Any, client: Client, conf: cfg.ConfigOpts) -> None:
    """A broker drops a message after its time to live; here the message waits in the server."""
    listen(topic="another")  # registers the option
    conf.set_override("executor_thread_pool_size", 1)
    endpoint, _ = listen()
    busy = eventlet.spawn(client.call, CONTEXT, "held")
    wait_until(lambda: endpoint.holding)
    with pytest.raises(ServerUnavailable):
        client.call(CONTEXT, "echo", timeout=0.05, value="too late")
    endpoint.let_go.send("late")
    assert busy.wait() == "late"
    assert client.call(CONTEXT, "echo", value="in time") == "in time"
    assert endpoint.got == ["in time"]


def test_a_call_that_is_answered_late_ends_at_its_deadline(listen: Any, client: Client) -> None:
    endpoint, _ = listen()
    with eventlet.Timeout(4), pytest.raises(ServerUnavailable, match=r"no answer within 0.05 s"):
        client.call(CONTEXT, "held", timeout=0.05)
    endpoint.let_go.send("late")
    assert client.call(CONTEXT, "echo", value="next") == "next"


def test_the_driver_itself_keeps_the_timeout(conf: cfg.ConfigOpts, url: str) -> None:
    rpc = oslo_messaging.get_rpc_client(get_transport(conf, url), Target(topic="topic"), timeout=0.05)
    with pytest.raises(oslo_messaging.MessagingTimeout):
        rpc.call({}, "echo", value=1)


def test_a_cast_without_a_listener_is_lost(listen: Any, client: Client) -> None:
    client.cast(CONTEXT, "keep", value="early")
    endpoint, _ = listen()
    client.cast(CONTEXT, "keep", value="in time")
    wait_until(lambda: endpoint.got)
    assert endpoint.got == ["in time"]


def test_casts_arrive_in_order(listen: Any, client: Client) -> None:
    endpoint, _ = listen()
    for number in range(50):
        client.cast(CONTEXT, "keep", value=number)
    wait_until(lambda: len(endpoint.got) == 50)
    assert endpoint.got == list(range(50))


def test_servers_of_a_topic_take_turns(listen: Any, client: Client) -> None:
    endpoints = [listen(host)[0] for host in ("node1", "node2", "node3")]
    for number in range(30):
        client.cast(CONTEXT, "keep", value=number)
    wait_until(lambda: sum(len(endpoint.got) for endpoint in endpoints) == 30)
    assert [len(endpoint.got) for endpoint in endpoints] == [10, 10, 10]


def test_a_message_to_one_server_reaches_that_one(listen: Any, client: Client) -> None:
    first, second = listen("node1")[0], listen("node2")[0]
    for number in range(3):
        client.cast(CONTEXT, "keep", server="node2", value=number)
    wait_until(lambda: len(second.got) == 3)
    client.cast(CONTEXT, "keep", server="node9", value="nobody")
    assert client.call(CONTEXT, "echo", server="node1", value="here") == "here"
    assert first.got == ["here"]


def test_a_fanout_reaches_each_server_once(listen: Any, client: Client) -> None:
    endpoints = [listen(host)[0] for host in ("node1", "node2")]
    client.cast(CONTEXT, "keep", fanout=True, value="all")
    wait_until(lambda: all(endpoint.got for endpoint in endpoints))
    assert [endpoint.got for endpoint in endpoints] == [["all"], ["all"]]


def test_transports_of_another_virtual_host_do_not_hear(listen: Any, conf: cfg.ConfigOpts, client: Client) -> None:
    endpoint, _ = listen()
    Client(get_transport(conf, "local:///elsewhere"), "topic", timeout=5).cast(CONTEXT, "keep", value="elsewhere")
    client.call(CONTEXT, "echo", value="here")
    assert endpoint.got == ["here"]


def test_a_closed_consumer_gets_nothing_and_closes_within_milliseconds(listen: Any, client: Client) -> None:
    endpoint, times = Endpoint(), list[float]()
    for number in range(10):
        endpoint, connection = listen(str(number))
        before = time.monotonic()
        connection.close()
        times.append(time.monotonic() - before)
    assert min(times) < 0.05  # the minimum: a busy machine may delay any of them
    client.cast(CONTEXT, "keep", value=1)
    eventlet.sleep(0.01)
    assert endpoint.got == []


def test_close_waits_for_the_answer_to_a_message_in_flight(listen: Any, client: Client) -> None:
    _, connection = listen()
    caller = eventlet.spawn(client.call, CONTEXT, "late", seconds=0.05)
    eventlet.sleep(0.01)
    connection.close()
    with eventlet.Timeout(30):
        assert caller.wait() == "late"


def test_close_stops_all_consumers_before_it_waits_for_messages_in_flight(conf: cfg.ConfigOpts, url: str) -> None:
    endpoint, transport = Endpoint(), get_transport(conf, url)
    connection = Connection(transport, host="node1")
    for topic in ("one", "another"):
        connection.create_consumer(topic, [endpoint])
    connection.consume_in_threads()
    one, another = (Client(transport, topic, version="1.3", timeout=30) for topic in ("one", "another"))
    caller = eventlet.spawn(one.call, CONTEXT, "held")
    wait_until(lambda: endpoint.holding)
    closing = eventlet.spawn(connection.close)

    def refused() -> bool:
        try:
            another.cast(CONTEXT, "keep", at_least_once=True, value="too late")
        except ServerUnavailable as error:
            return "has no consumer" in str(error)
        return False

    wait_until(refused)
    assert not closing.dead
    endpoint.let_go.send("held")
    assert caller.wait() == "held"
    closing.wait()


def test_an_idle_consumer_costs_nothing(listen: Any) -> None:
    for number in range(20):
        listen(str(number))
    eventlet.sleep(0.1)
    before = time.process_time()
    eventlet.sleep(0.5)
    assert time.process_time() - before < 0.01


class Notified:
    """The endpoint of a listener, with the received messages."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.requeue = 0

    def info(self, context: Any, publisher: str, event: str, payload: Any, metadata: Any) -> Any:
        if self.requeue:
            self.requeue -= 1
            return oslo_messaging.NotificationResult.REQUEUE
        self.got.append((publisher, event, payload))
        return oslo_messaging.NotificationResult.HANDLED


class Batches:
    def __init__(self) -> None:
        self.got: list[list[Any]] = []

    def info(self, messages: Any) -> None:
        self.got.append([message["event_type"] for message in messages])


class Notifications:
    """A notifier, and listeners of its topic."""

    def __init__(self, conf: cfg.ConfigOpts, url: str) -> None:
        self._transport = oslo_messaging.get_notification_transport(conf, url)
        self._notifier = oslo_messaging.Notifier(self._transport, "me", driver="messaging", topics=["notifications"])
        self._listeners: list[Any] = []

    def send(self, event: str, context: Any = None) -> None:
        self._notifier.info(context or {}, event, {"a": 1})

    def listen(self, endpoint: object, get: Any = oslo_messaging.get_notification_listener, **settings: Any) -> Any:
        targets = [Target(topic="notifications")]
        self._listeners.append(get(self._transport, targets, [endpoint], **settings))
        self._listeners[-1].start()
        return self._listeners[-1]

    def close(self) -> None:
        for listener in self._listeners:
            listener.stop()
            listener.wait()


@pytest.fixture
def notifications(conf: cfg.ConfigOpts, url: str) -> Iterator[Notifications]:
    notifications = Notifications(conf, url)
    yield notifications
    notifications.close()


def test_notifications_reach_their_listener(notifications: Notifications) -> None:
    endpoint = Notified()
    notifications.listen(endpoint)
    notifications.send("up")
    wait_until(lambda: endpoint.got)
    assert endpoint.got == [("me", "up", {"a": 1})]


def test_notifications_wait_for_a_listener_and_the_oldest_go_when_there_are_too_many(
    notifications: Notifications, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(local_queues, "QUEUE_LIMIT", 3)
    for event in "abcde":
        notifications.send(event)
    endpoint = Notified()
    listener = notifications.listen(endpoint)
    wait_until(lambda: len(endpoint.got) == 3)
    assert [event for _, event, _ in endpoint.got] == ["c", "d", "e"]
    assert caplog.text.count("storing the last 3 notifications only") == 1
    listener.stop()
    listener.wait()
    notifications.send("while none listens")
    another = Notified()
    notifications.listen(another)
    wait_until(lambda: another.got)


def test_a_notification_that_is_put_back_comes_again(notifications: Notifications) -> None:
    endpoint = Notified()
    endpoint.requeue = 2
    notifications.listen(endpoint, allow_requeue=True)
    notifications.send("up")
    wait_until(lambda: endpoint.got)
    assert endpoint.got == [("me", "up", {"a": 1})] and endpoint.requeue == 0


def test_listeners_take_turns_and_each_pool_gets_each_notification(notifications: Notifications) -> None:
    alone, one, two = Notified(), Notified(), Notified()
    notifications.listen(alone)
    notifications.listen(one, pool="pool")
    notifications.listen(two, pool="pool")
    for event in "abcd":
        notifications.send(event)
    wait_until(lambda: len(alone.got) == len(one.got) + len(two.got) == 4)
    assert [event for _, event, _ in alone.got] == ["a", "b", "c", "d"]
    assert len(one.got) == len(two.got) == 2


def test_notifications_come_in_batches_of_a_size_or_after_a_time(notifications: Notifications) -> None:
    endpoint = Batches()
    get = oslo_messaging.get_batch_notification_listener
    listener = notifications.listen(endpoint, get, batch_size=2, batch_timeout=0.2)
    for event in "abc":
        notifications.send(event)
    wait_until(lambda: len(endpoint.got) == 2)
    notifications.send("d")
    listener.stop()
    listener.wait()
    assert endpoint.got == [["a", "b"], ["c"], ["d"]]


def test_a_context_object_needs_no_serializer(notifications: Notifications, conf: cfg.ConfigOpts, url: str) -> None:
    endpoint, got = Notified(), list[Any]()
    notifications.listen(endpoint)
    notifications.send("up", CONTEXT)
    wait_until(lambda: endpoint.got)
    transport = get_transport(conf, url)
    answering = SimpleNamespace(who=lambda context: got.append(context))
    server = oslo_messaging.get_rpc_server(transport, Target(topic="plain", server="node1"), [answering])
    server.start()
    oslo_messaging.get_rpc_client(transport, Target(topic="plain")).call(CONTEXT, "who")
    assert got[0]["request_id"] == CONTEXT.request_id
    server.stop()
    server.wait()
