# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from eventlet.green import socket
from oslo_config import cfg

from l3agent.agent.registration import BINARY
from l3agent.conf import register_opts
from l3agent.ops.health import Health
from l3agent.ops.history import History
from l3agent.ops.http import HttpServer, Pages
from l3agent.ops.metrics import Metrics
from l3agent.ops.status import status
from l3agent.ops.topology_json import TopologyEncoder
from l3agent.ops.web import build_pages
from l3agent.rpc import get_transport
from l3agent.rpc.observers import on_result
from l3agent.service import Service
from l3agent.service.services import Services
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import OpenAgent
from tests.unit.agent.conftest import agent as agent
from tests.unit.agent.conftest import conf as conf
from tests.unit.agent.conftest import dataplane as dataplane
from tests.unit.agent.conftest import failure_logs_end_with_their_test as failure_logs_end_with_their_test
from tests.unit.agent.conftest import make_agent as make_agent
from tests.unit.agent.conftest import plugin as plugin
from tests.unit.agent.conftest import service_of as service_of
from tests.unit.agent.conftest import transport as transport


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def request(port: int, path: str, method: str = "GET", host: str = "127.0.0.1") -> Response:
    return raw(port, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())


def raw(port: int, data: bytes) -> Response:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(data)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return Response(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)


@contextmanager
def serving(shown: Pages, **settings: Any) -> Iterator[HttpServer]:
    server = HttpServer("127.0.0.1", 0, shown, **settings)
    with running(server):
        yield server


class Site:
    """A running agent with its server and data plane, and its pages over HTTP."""

    def __init__(self, folder: Path, name: str) -> None:
        conf = cfg.ConfigOpts()
        register_opts(conf)
        conf([])
        conf.set_override("state_path", str(folder))
        conf.set_override("retry_min", 0.02, group="l3agent")
        conf.set_override("retry_max", 0.1, group="l3agent")
        self.dataplane = cast(Any, FakeDataplane())
        self.transport = get_transport(conf, f"local:///{name[:40]}")
        self.plugin = FakePlugin(self.transport)
        self.agent = OpenAgent(conf, "node1", dataplane=self.dataplane, transport=self.transport)
        self.service = Service.create(
            binary=BINARY,
            topic="l3_agent",
            report_interval=30,
            manager=self.agent,
            conf=conf,
            host="node1",
            transport=self.transport,
            periodic_interval=0,
        )
        self.reload_succeeded, self.lag = True, 0.0
        self.services = Services()
        self.metrics = Metrics(self.agent.view, self.dataplane, reload_succeeded=lambda: self.reload_succeeded)
        self.health = Health(
            self.agent.view,
            self.dataplane,
            hub_lag=lambda: self.lag,
            unhealthy=self.services.list_unhealthy,
            broker_connected=lambda: self.service.conn is not None and self.service.conn.connected,
        )
        self.history = History(self.agent.view)
        self.topology = TopologyEncoder(self.agent.view, lambda: ([], {}))
        shown = build_pages(
            "node1",
            lambda: status(self.agent.view, self.dataplane),
            self.topology.encode,
            self.metrics,
            self.health,
            self.history,
        )
        self.http = HttpServer("127.0.0.1", 0, shown)
        on_result(self.transport, self.metrics.count_message)

    def get(self, path: str) -> Response:
        return request(self.http.port, path)

    def update(self, *routers: Any) -> None:
        """Send an update of routers and wait until all are processed."""
        self.plugin.routers |= {router["id"]: router for router in routers}
        self.agent.routers_updated(None, [router["id"] for router in routers])
        wait_until(lambda: not any(self.agent.queue.counts().values()))


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    site = Site(tmp_path, request.node.name)
    with running(site.http, site.history, site.plugin, site.service):
        wait_until(lambda: site.agent.full_sync.in_sync)
        yield site
