# SPDX-License-Identifier: Apache-2.0
"""Hostile and slow clients of metadata do not affect other routers."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from l3agent.model.haproxy import RateLimit
from tests.support.metadata import (
    CLIENT_ADDRESS,
    METADATA_IPV6,
    MORE_ADDRESSES,
    Metadata,
    half_a_request,
    router_id,
)
from tests.support.metadata_agent import is_closed, read_answer, request
from tests.support.waiting import poll

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter the namespaces of a sandbox"),
]
#: Resident bytes that one connection may cost, in the acceptor.
_BYTES_PER_CONNECTION = 8192


# ---- limits ---------------------------------------------------------------------------------------------------------


def test_limits_per_source_and_router(metadata: Metadata) -> None:
    metadata.build(range(2))
    metadata.start()
    metadata.start_acceptor(source_connections=3, router_connections=5)
    metadata.add(0)
    metadata.add(1)
    first = [half_a_request(metadata, 0) for _ in range(3)]
    poll(lambda: metadata.status()["connections"] == 3)
    with half_a_request(metadata, 0) as refused:
        assert is_closed(refused)
    assert metadata.result(0, "source_limit") == 1
    second = [half_a_request(metadata, 0, source=MORE_ADDRESSES[0]) for _ in range(2)]
    poll(lambda: metadata.status()["connections"] == 5)
    with metadata.connect(0, source=MORE_ADDRESSES[1]) as waiting:
        waiting.sendall(request("/"))
        assert metadata.get(1)[0] == 200, "another router is not affected"
        assert metadata.status()["connections"] == 5
        first.pop().close()
        assert read_answer(waiting)[0] == 200
    assert f"router {router_id(0)}: 5 connections; others wait" in metadata.log.read_text()
    for client in (*first, *second):
        client.close()
    poll(lambda: metadata.status()["connections"] == 0)


def test_thousands_of_connections_of_one_tenant(metadata: Metadata) -> None:
    metadata.build(range(3))
    metadata.start()
    metadata.start_acceptor(connections=200, router_connections=1000, source_connections=1000)
    for number in range(3):
        metadata.add(number)
    assert metadata.acceptor is not None
    pid = metadata.acceptor.pid
    assert metadata.get(0)[0] == 200
    before = resident(pid)
    hostile = []
    for source in (CLIENT_ADDRESS, *MORE_ADDRESSES[:9]):
        for _ in range(120):
            hostile.append(half_a_request(metadata, 0, source=source))
    poll(lambda: metadata.status()["connections"] == 200)
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    assert descriptors < 3 + 2 * 200 + 40
    assert resident(pid) - before < 200 * _BYTES_PER_CONNECTION + (1 << 20)
    for _ in range(10):
        assert metadata.get(1)[0] == 200
    kept = metadata.connect(2)
    kept.sendall(request("/"))
    assert read_answer(kept)[0] == 200
    assert metadata.result(0, "evicted") > 0
    assert metadata.result(1, "forwarded") == 10
    kept.sendall(request("/"))
    assert read_answer(kept)[0] == 200, "a connection of another tenant was evicted"
    kept.close()
    for client in hostile:
        client.close()
    poll(lambda: metadata.get(0)[0] == 200, timeout=30)
    poll(lambda: metadata.status()["connections"] == 0, timeout=30)
    assert len(os.listdir(f"/proc/{pid}/fd")) < 40


def test_connections_without_a_byte_are_closed(metadata: Metadata) -> None:
    metadata.build(range(1))
    metadata.start()
    metadata.start_acceptor(idle_timeout=1)
    metadata.add(0)
    with half_a_request(metadata, 0) as client:
        assert is_closed(client)
    assert metadata.result(0, "idle") == 1


def test_rate_limit_per_router_and_source(metadata: Metadata) -> None:
    metadata.build(range(2))
    limit = RateLimit(base_window=60, base_requests=4, burst_window=60, burst_requests=100)
    metadata.agent.start()
    metadata.start_haproxy(rate_limit=limit)
    metadata.start_acceptor()
    metadata.add(0)
    metadata.add(1)
    assert [metadata.get(0)[0] for _ in range(6)] == [200] * 4 + [429] * 2
    assert metadata.get(1)[0] == 200, "another router with the same source address"
    assert metadata.get(0, source=MORE_ADDRESSES[0])[0] == 200, "another source of the same router"
    assert [metadata.get(0, address=METADATA_IPV6)[0] for _ in range(6)] == [200] * 6, "only IPv4 is limited"


def test_burst_limit(metadata: Metadata) -> None:
    metadata.build(range(1))
    limit = RateLimit(ip_versions=(4, 6), base_window=60, base_requests=100, burst_window=30, burst_requests=2)
    metadata.agent.start()
    metadata.start_haproxy(rate_limit=limit)
    metadata.start_acceptor()
    metadata.add(0)
    assert [metadata.get(0)[0] for _ in range(3)] == [200, 200, 429]
    assert [metadata.get(0, address=METADATA_IPV6)[0] for _ in range(3)] == [200, 200, 429]


def test_a_slow_router_does_not_hold_up_the_queue_to_the_agent(metadata: Metadata) -> None:
    metadata.build(range(2))
    metadata.agent.start()
    metadata.start_haproxy(agent_requests=2)
    metadata.start_acceptor()
    metadata.add(0)
    metadata.add(1)
    metadata.agent.delay = 0.1
    hostile = [metadata.connect(0) for _ in range(30)]
    for client in hostile:
        client.sendall(request("/"))
    poll(lambda: metadata.status()["connections"] == 30)
    assert metadata.get(1)[0] == 200
    answered = sum(
        "router=" + router_id(0) in line for line in metadata.haproxy_log.read_text(errors="replace").splitlines()
    )
    assert answered < 20, "the request waited behind those of another router"
    assert metadata.agent.most_processing <= 2
    metadata.agent.delay = 0
    for client in hostile:
        assert read_answer(client)[0] == 200
        client.close()


def resident(pid: int) -> int:
    """Return the resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
