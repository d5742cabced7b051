# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, RemoteError, admin_context, get_transport
from l3agent.rpc.observers import UNKNOWN_METHOD, Message, on_message, on_result


class Endpoint:
    def ping(self, context: Any) -> str:
        return "pong"

    def fail(self, context: Any) -> None:
        raise ValueError("no")


def _broken(*_: Any) -> None:
    """Raise an error, which must not affect the message."""
    raise LookupError


@pytest.fixture
def messages() -> Iterator[tuple[Client, Connection, list[tuple[str, str, str]]]]:
    conf = cfg.ConfigOpts()
    conf([])
    transport = get_transport(conf, "local:///traffic")
    on_result(transport, _broken)
    on_message(transport, _broken)
    results: list[tuple[str, str, str]] = []
    on_result(transport, lambda *message: results.append(message))
    connection = Connection(transport, host="here")
    connection.create_consumer("topic", [Endpoint()])
    assert not connection.connected
    connection.consume_in_threads()
    assert connection.connected
    yield Client(transport, "topic", timeout=1), connection, results
    connection.close()
    assert not connection.connected


def test_observers_of_both_ends_get_each_message_with_its_result(messages: Any) -> None:
    client, _, results = messages
    client.call(admin_context(), "ping")
    with pytest.raises(RemoteError):
        client.call(admin_context(), "fail")
    assert sorted(results) == [
        ("fail", "in", "error"),
        ("fail", "out", "error"),
        ("ping", "in", "ok"),
        ("ping", "out", "ok"),
    ]


def test_unknown_methods_share_one_name(messages: Any) -> None:
    client, _, results = messages
    with pytest.raises(RemoteError):
        client.call(admin_context(), "made_up_by_whoever_reaches_the_broker")
    assert (UNKNOWN_METHOD, "in", "error") in results


def test_a_missing_answer_is_reported_as_unavailable(messages: Any) -> None:
    client, connection, results = messages
    connection.close()
    with pytest.raises(ServerUnavailable):
        client.call(admin_context(), "ping", timeout=0.1)
    assert results == [("ping", "out", "unavailable")]


def test_what_failed_is_recorded_with_its_reason(messages: Any) -> None:
    client, connection, _ = messages
    recorded: list[Message] = []
    on_message(client._transport, recorded.append)
    assert client.call(admin_context(), "ping") == "pong"
    with pytest.raises(RemoteError):
        client.call(admin_context(), "fail")
    connection.close()
    with pytest.raises(ServerUnavailable):
        client.call(admin_context(), "ping", timeout=0.1)
    out = [(one.method, one.result, one.error) for one in recorded if one.kind == "call"]
    assert out == [("ping", "pong", None), ("fail", None, "ValueError"), ("ping", None, "unavailable")]
