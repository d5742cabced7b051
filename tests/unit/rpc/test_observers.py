# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, RemoteError, admin_context, get_transport
from l3agent.rpc.observers import (
    UNKNOWN_METHOD,
    Message,
    on_message,
    on_result,
)


class Endpoint:
    def ping(self, context: Any) -> str:
        return "pong"

    def fail(self, context: Any) -> None:
        raise ValueError("no")


def _broken(*_: Any) -> None:
    """Listen, and fail: no message may suffer from that."""
    raise LookupError


@pytest.fixture
def told() -> Iterator[tuple[Client, Connection, list[tuple[str, str, str]]]]:
    conf = cfg.ConfigOpts()
    conf([])
    transport = get_transport(conf, "local:///traffic")
    on_result(transport, _broken)
    on_message(transport, _broken)
    heard: list[tuple[str, str, str]] = []
    on_result(transport, lambda *message: heard.append(message))
    connection = Connection(transport, host="here")
    connection.create_consumer("topic", [Endpoint()])
    assert not connection.connected
    connection.consume_in_threads()
    assert connection.connected
    yield Client(transport, "topic", timeout=1), connection, heard
    connection.close()
    assert not connection.connected


def test_each_message_is_told_at_both_ends_with_its_result(told: Any) -> None:
    client, _, heard = told
    client.call(admin_context(), "ping")
    with pytest.raises(RemoteError):
        client.call(admin_context(), "fail")
    assert sorted(heard) == [
        ("fail", "in", "error"),
        ("fail", "out", "error"),
        ("ping", "in", "ok"),
        ("ping", "out", "ok"),
    ]


def test_a_method_that_nobody_has_gets_no_name_here(told: Any) -> None:
    client, _, heard = told
    with pytest.raises(RemoteError):
        client.call(admin_context(), "made_up_by_whoever_reaches_the_broker")
    assert (UNKNOWN_METHOD, "in", "error") in heard


def test_no_answer_is_told(told: Any) -> None:
    client, connection, heard = told
    connection.close()
    with pytest.raises(ServerUnavailable):
        client.call(admin_context(), "ping", timeout=0.1)
    assert heard == [("ping", "out", "unavailable")]


def test_what_failed_is_recorded_with_its_reason(told: Any) -> None:
    client, connection, _ = told
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
