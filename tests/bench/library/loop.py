# SPDX-License-Identifier: Apache-2.0
"""A client and a server in one green process, which calls and casts as often as it is told.

``python -m tests.bench.library.loop ours|bare URL`` reads ``call 500``, ``cast 500`` or ``idle 2`` (seconds) from its
standard input, and answers each with a line of JSON: the seconds of wall and of its own CPU that it took. ``bare`` is a
loop of oslo.messaging's own client and server, with nothing of ours.
"""

from __future__ import annotations

import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import uuid  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402

import oslo_messaging  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_messaging import Target  # noqa: E402

PAYLOAD = {f"key-{number}": "x" * 40 for number in range(40)}  # 2 KB
TIMEOUT_S = 60.0


class Endpoint:
    """What is called."""

    target = Target(version="1.0")

    def __init__(self) -> None:
        self.casts = 0
        self.last: Any = None

    def ask(self, context: Any, number: int, payload: Any) -> int:
        return number

    def tell(self, context: Any, number: int, payload: Any) -> None:
        self.casts += 1
        if self.last is not None and self.casts == self.last[0]:
            self.last[1].send()

    def expect(self, casts: int) -> Any:
        """Return the event of the last of so many casts."""
        self.casts, self.last = 0, (casts, eventlet.Event())
        return self.last[1]


Send = Callable[..., Any]


def ours(url: str, topic: str, endpoint: Endpoint) -> tuple[Send, Send]:
    """Return how to call and to cast with the library."""
    from l3agent.rpc import Client, Connection, admin_context, get_transport

    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    transport = get_transport(conf, url)
    connection = Connection(transport, host="server")
    connection.create_consumer(topic, [endpoint])
    connection.consume_in_threads()
    client, context = Client(transport, topic, timeout=TIMEOUT_S), admin_context()
    return (
        lambda number: client.call(context, "ask", number=number, payload=PAYLOAD),
        lambda number: client.cast(context, "tell", number=number, payload=PAYLOAD),
    )


def bare(url: str, topic: str, endpoint: Endpoint) -> tuple[Send, Send]:
    """Return how to call and to cast with oslo.messaging alone; the context is as large as ours."""
    from l3agent.rpc import admin_context

    cfg.CONF([], default_config_files=[])
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url)
    oslo_messaging.get_rpc_server(transport, Target(topic=topic, server="server"), [endpoint]).start()
    client, context = oslo_messaging.get_rpc_client(transport, Target(topic=topic, version="1.0")), admin_context()
    prepared = client.prepare(timeout=TIMEOUT_S)
    values = context.to_dict()
    return (
        lambda number: prepared.call(values, "ask", number=number, payload=PAYLOAD),
        lambda number: prepared.cast(values, "tell", number=number, payload=PAYLOAD),
    )


def main() -> None:
    """Do as told until there is nothing more to read."""
    way, url = sys.argv[1:3]
    endpoint = Endpoint()
    call, cast = {"ours": ours, "bare": bare}[way](url, f"bench-{uuid.uuid4()}", endpoint)

    def calls(count: float) -> None:
        for number in range(int(count)):
            assert call(number) == number

    def casts(count: float) -> None:
        arrived = endpoint.expect(int(count))
        for number in range(int(count)):
            cast(number)
        arrived.wait()

    orders = {"call": calls, "cast": casts, "idle": eventlet.sleep}
    for line in iter(_next_order, ""):
        order, count = line.split()
        wall, cpu = time.perf_counter(), time.process_time()
        orders[order](float(count))
        figures = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(figures), flush=True)


def _next_order() -> str:
    """Wait for an order natively: between two orders this process shall do nothing."""
    return sys.stdin.readline()


if __name__ == "__main__":
    main()
