# SPDX-License-Identifier: Apache-2.0
"""Each cell of the README's comparison with oslo.messaging is observed, and the cells of each row differ."""

from __future__ import annotations

import inspect
import os
import signal
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import amqp
import eventlet
import oslo_messaging
import pytest
from oslo_config import cfg
from oslo_messaging import Target

from l3agent.exceptions import ServerUnavailable
from l3agent.rpc import Client, Connection, RemoteError, admin_context, get_transport
from l3agent.service import Manager
from l3agent.testing import wait_until
from tests.support.documents import beside
from tests.support.rabbit import Rabbit, free_ports

OSLO, OURS = "oslo.messaging", "ours"
HEADING = "## Comparison with oslo.messaging"
TIMEOUT_S = 1.0


class Endpoint:
    def __init__(self) -> None:
        self.got: list[int] = []

    def echo(self, context: Any, value: int) -> int:
        self.got.append(value)
        return value


class Original:
    """A client of oslo.messaging, in the shape of ours."""

    def __init__(self, transport: Any, topic: str) -> None:
        self._rpc = oslo_messaging.get_rpc_client(transport, Target(topic=topic))

    def call(self, context: Any, method: str, *, timeout: float = 10, **arguments: Any) -> Any:
        return self._rpc.prepare(timeout=timeout).call(context.to_dict(), method, **arguments)

    def cast(self, context: Any, method: str, **arguments: Any) -> None:
        self._rpc.cast(context.to_dict(), method, **arguments)


def transport(library: str, url: str) -> Any:
    """Return a transport of the library, with the configuration that it needs."""
    if library == OURS:
        conf = cfg.ConfigOpts()
        conf([])
        return get_transport(conf, url)
    cfg.CONF([], default_config_files=[])
    return oslo_messaging.get_rpc_transport(cfg.CONF, url)


def client(library: str, transport: Any, topic: str) -> Any:
    return Client(transport, topic) if library == OURS else Original(transport, topic)


@contextmanager
def serving(library: str, transport: Any, topic: str, endpoint: object, host: str = "node1") -> Iterator[Any]:
    """Run a server; yields what stops it."""
    if library == OURS:
        connection = Connection(transport, host=host)
        connection.create_consumer(topic, [endpoint])
        connection.consume_in_threads()
        stop: Callable[[], None] = connection.close
    else:
        server = oslo_messaging.get_rpc_server(transport, Target(topic=topic, server=host), [endpoint])
        server.start()
        stop = lambda: (server.stop(), server.wait())  # type: ignore[assignment,func-returns-value]  # noqa: E731
    try:
        yield stop
    finally:
        stop()


def in_process(library: str) -> str:
    """Return a URL of the driver that needs no broker."""
    return f"{'local' if library == OURS else 'fake'}:///{uuid.uuid4()}"


def private_options(library: str) -> str:
    conf = cfg.ConfigOpts()
    conf([])
    url = in_process(library)
    private = get_transport(conf, url) if library == OURS else oslo_messaging.get_rpc_transport(conf, url)
    try:
        client(library, private, "topic").cast(admin_context(), "echo", value=1)
    except cfg.NoSuchOptError:
        return "every message raises NoSuchOptError"
    return "is sufficient"


def call_without_a_broker(library: str) -> str:
    caller = client(library, transport(library, f"rabbit://127.0.0.1:{free_ports(1)[0]}/"), "topic")
    with eventlet.Timeout({OSLO: 3 * TIMEOUT_S, OURS: 60}[library], False):
        with suppress(ServerUnavailable, oslo_messaging.MessagingTimeout):
            caller.call(admin_context(), "echo", timeout=TIMEOUT_S, value=1)
        return "ends at its timeout"
    return "blocks beyond its timeout"


def call_without_a_consumer(library: str, rabbit: Rabbit) -> str:
    caller = client(library, transport(library, rabbit.url), str(uuid.uuid4()))
    try:
        caller.call(admin_context(), "echo", timeout={OSLO: 2 * TIMEOUT_S, OURS: 60}[library], value=1)
    except oslo_messaging.MessagingTimeout:
        return "fails at its timeout"
    except ServerUnavailable as error:
        return "fails at once" if "has no consumer" in str(error) else str(error)
    return "is answered"


def deleted_exchange(library: str, rabbit: Rabbit) -> str:
    connected, topic = transport(library, rabbit.url), str(uuid.uuid4())
    with serving(library, connected, topic, Endpoint()):
        caller = client(library, connected, topic)
        caller.call(admin_context(), "echo", timeout=30, value=1)
        with amqp.Connection(f"127.0.0.1:{rabbit.port}") as connection:
            connection.channel().exchange_delete({OSLO: "openstack", OURS: "neutron"}[library])
        for _ in range({OSLO: 3, OURS: 60}[library]):
            with suppress(oslo_messaging.MessagingException, ServerUnavailable):
                caller.call(admin_context(), "echo", timeout=1, value=1)
                return "receives again after one failed call"
            eventlet.sleep(0.5)
    return "receives nothing until it reconnects"


def transport_before_a_fork(library: str, rabbit: Rabbit) -> str:
    topic = str(uuid.uuid4())
    with serving(library, transport(library, rabbit.url), topic, Endpoint()):
        argv = [sys.executable, "-m", "tests.support.forked", library.partition(".")[0], rabbit.url, topic]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            assert process.stdout is not None
            answers = [process.stdout.readline().strip() for _ in range(2)]
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return "works in each worker" if answers == ["2", "2"] else "fails in the workers"


def two_servers_of_a_topic(library: str) -> str:
    hosts, connected = [Endpoint(), Endpoint()], transport(library, in_process(library))
    with serving(library, connected, "topic", hosts[0]), serving(library, connected, "topic", hosts[1], "node2"):
        caller = client(library, connected, "topic")
        for value in range(10):
            caller.cast(admin_context(), "echo", value=value)
        wait_until(lambda: sum(len(host.got) for host in hosts) == 10)
    return "receive in rotation" if len(hosts[0].got) == len(hosts[1].got) else "receive unequal shares"


def call_in_process(library: str) -> str:
    connected, times = transport(library, in_process(library)), []
    with serving(library, connected, "topic", Endpoint()):
        caller = client(library, connected, "topic")
        for value in range(5):
            begun = time.monotonic()
            caller.call(admin_context(), "echo", value=value)
            times.append(time.monotonic() - begun)
    return "waits for a poll every 50 ms" if statistics.median(times) > 0.04 else "is delivered at once"


def callable_methods(library: str) -> str:
    conf = cfg.ConfigOpts()
    conf([])
    connected = transport(library, in_process(library))
    with serving(library, connected, "topic", Manager(conf, "node1")):
        try:
            client(library, connected, "topic").call(admin_context(), "stop", timeout=30)
        except RemoteError:
            return "are its RPC methods"
    return "are all methods, also `stop`"


#: The rows of the README, by name.
ROWS: dict[str, Callable[..., str]] = {
    "a private `ConfigOpts`": private_options,
    "a call without a broker": call_without_a_broker,
    "a call without a consumer": call_without_a_consumer,
    "the callable methods of a manager": callable_methods,
    "a server whose exchange is deleted": deleted_exchange,
    "a transport that the parent used before the fork": transport_before_a_fork,
    "a call in one process": call_in_process,
    "two servers of a topic in one process": two_servers_of_a_topic,
}


def test_the_table_has_a_row_for_each_observation_and_no_other() -> None:
    assert list(beside("rpc/README.md", HEADING, OSLO, OURS)) == list(ROWS)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_different_cells(row: str) -> None:
    cells = beside("rpc/README.md", HEADING, OSLO, OURS)[row]
    assert cells[OSLO] != cells[OURS]


def _rows() -> list[Any]:
    forks = "a transport that the parent used before the fork"
    return [pytest.param(row, marks=pytest.mark.forks if row == forks else ()) for row in ROWS]


@pytest.mark.parametrize("library", [OSLO, OURS])
@pytest.mark.parametrize("row", _rows())
def test_each_cell_is_observed(row: str, library: str, request: pytest.FixtureRequest) -> None:
    observe = ROWS[row]
    needs = {name: request.getfixturevalue(name) for name in inspect.signature(observe).parameters if name != "library"}
    assert observe(library, **needs) == beside("rpc/README.md", HEADING, OSLO, OURS)[row][library]
