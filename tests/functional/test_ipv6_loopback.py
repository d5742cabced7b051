# SPDX-License-Identifier: Apache-2.0
"""Broker, database of the switch and HTTP port, all three on ``::1``."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from l3agent.testing import wait_until
from tests.support.cloud import HOST, ROUTER, options
from tests.support.neutron_server import NeutronServer
from tests.support.openvswitch import OpenVSwitch
from tests.support.payloads import legacy_payload
from tests.support.processes import Agent, Dataplane, Options
from tests.support.rabbit import Rabbit, free_ports
from tests.support.sandbox import Sandbox

pytestmark = [pytest.mark.broker, pytest.mark.openvswitch]
_DATABASE_PORT = 6640  # in a sandbox of its own


@pytest.fixture
def rabbit_on_ipv6() -> Iterator[Rabbit]:
    node = Rabbit(Path(tempfile.mkdtemp(prefix="l3-rabbit-")), address="::1")
    try:
        node.start()
        yield node
    finally:
        node.close()


@pytest.fixture
def switch(sandbox: Sandbox, folder: Path) -> OpenVSwitch:
    switch = OpenVSwitch(sandbox, folder, also=f"ptcp:{_DATABASE_PORT}:[::1]")
    switch.start()
    return switch


def test_an_agent_whose_broker_database_and_http_port_are_on_ipv6_serves_its_router(
    rabbit_on_ipv6: Rabbit,
    switch: OpenVSwitch,
    sandbox: Sandbox,
    folder: Path,
    start_agent: Callable[[Options], Agent],
) -> None:
    driver = {"interface_driver": "openvswitch"}
    groups = {"DEFAULT": driver, "OVS": {"ovsdb_connection": f"tcp:[::1]:{_DATABASE_PORT}"}}
    dataplane = Dataplane(sandbox, folder, groups)
    dataplane.start()
    (port,) = free_ports(1)
    server = NeutronServer(rabbit_on_ipv6.url, HOST, [legacy_payload()])
    server.start()
    try:
        settings = dict(options(rabbit_on_ipv6, dataplane, folder))
        settings["DEFAULT"] = {**settings["DEFAULT"], **driver}
        agent = start_agent({**settings, "http": {"bind_address": "::1", "port": port}})
        agent.wait_in_sync(timeout=60)
        devices = {f"{prefix}-{one['id'][:11]}" for prefix, one in _ports(server.routers[ROUTER])}
        wait_until(lambda: devices <= switch.ports(), timeout=30)
        with urllib.request.urlopen(f"http://[::1]:{port}/status.json", timeout=30) as answer:
            assert ROUTER in json.loads(answer.read())["routers"]
    finally:
        server.stop()


def _ports(router: Any) -> Iterator[tuple[str, Any]]:
    yield "qg", router["gw_port"]
    yield from (("qr", one) for one in router["_interfaces"])
