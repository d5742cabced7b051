# SPDX-License-Identifier: Apache-2.0
"""Metadata while a part is absent, replaced or killed, and routers are removed."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from l3agent.model.metadata_messages import Drain, encode_request
from tests.support.metadata import (
    METADATA_IPV6,
    Metadata,
    router_id,
)
from tests.support.metadata_agent import headers_named, is_closed, read_answer, request
from tests.support.waiting import poll

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter the namespaces of a sandbox"),
]


# ---- absent parts ---------------------------------------------------------------------------------------------------


def test_without_haproxy_the_answer_is_503_at_once(served: Metadata) -> None:
    assert served.haproxy is not None
    served.haproxy.kill()
    assert served.get(0)[0] == 503
    served.front.unlink()
    assert served.get(1, address=METADATA_IPV6)[0] == 503
    assert (served.result(0, "unavailable"), served.result(1, "unavailable")) == (1, 1)
    assert str(served.front) in served.status()["haproxy_error"]
    served.start_haproxy()
    assert served.get(0)[0] == 200
    assert served.status()["haproxy_error"] is None
    lines = served.log.read_text().splitlines()
    assert sum("requests are answered with 503" in line for line in lines) <= 2


def test_without_the_agent_the_answer_is_503_at_once(served: Metadata) -> None:
    served.agent.stop()
    for has_file in (False, True):
        if has_file:  # as a killed agent leaves it
            with socket.socket(socket.AF_UNIX) as unused:
                unused.bind(str(served.agent.path))
        started = time.monotonic()
        assert served.get(0)[0] == 503
        # Its timeouts are 30 s.
        assert time.monotonic() - started < 5
    served.agent.start()
    assert served.get(0)[0] == 200


def test_haproxy_is_replaced_without_a_failed_request(served: Metadata) -> None:
    assert served.haproxy is not None
    former = served.haproxy
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(served.get, 0) for _ in range(100)]
        pid = served.sandbox.run(["pgrep", "-o", "haproxy"]).strip()
        served.haproxy = served.sandbox.popen(["haproxy", "-db", "-f", str(served.folder / "haproxy.conf"), "-sf", pid])
        answers += [pool.submit(served.get, 1) for _ in range(200)]
        assert former.wait(30) == 0
        answers += [pool.submit(served.get, 0) for _ in range(20)]
        assert {answer.result()[0] for answer in answers} == {200}


# ---- the end of routers and processes --------------------------------------------------------------------------------


def test_removing_a_router_ends_its_connections(served: Metadata) -> None:
    kept = served.connect(1)
    clients = [served.connect(0) for _ in range(3)]
    for client in (kept, *clients[:2]):
        client.sendall(request("/"))
        assert read_answer(client)[0] == 200
    clients[2].sendall(b"GET / HTTP/1.1\r\n")
    poll(lambda: served.status()["connections"] == 4)
    served.remove(0)
    assert served.status()["connections"] == 1
    # Nothing is left that keeps the namespace: neither a socket nor a connection that closes.
    assert served.sandbox.run(["ss", "-Hta", "state", "connected"], netns="r0") == ""
    assert served.sandbox.run(["ss", "-Htl"], netns="r0") == ""
    for client in clients:
        assert is_closed(client)
    with pytest.raises(ConnectionRefusedError):
        served.connect(0)
    assert router_id(0) not in served.status()["routers"]
    assert served.status()["results"]["removed"] == 3
    kept.sendall(request("/"))
    assert read_answer(kept)[0] == 200
    served.add(0)
    assert served.get(0)[0] == 200
    for client in (kept, *clients):
        client.close()


def test_the_process_ends_with_its_parent(served: Metadata) -> None:
    assert served.acceptor is not None
    served.hang_up()
    assert served.acceptor.wait(30) == 0


def test_a_killed_acceptor_is_replaced_without_a_refused_connection(served: Metadata) -> None:
    assert served.acceptor is not None
    served.acceptor.kill()
    with served.connect(0) as client:
        client.sendall(request("/"))
        served.start_acceptor()
        served.add(0)
        assert read_answer(client)[0] == 200


def test_an_acceptor_is_replaced_without_a_failed_request(served: Metadata) -> None:
    former, control = served.acceptor, served._control
    assert former is not None and control is not None
    busy = served.connect(0)
    busy.sendall(request("/"))
    assert read_answer(busy)[0] == 200
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(served.get, number) for number in (0, 1) * 30]
        served._control = None
        served.start_acceptor()
        for number in (0, 1):
            served.add(number)
        control.send(encode_request(1, Drain(60)))
        answers += [pool.submit(served.get, number) for number in (0, 1) * 30]
        assert {answer.result()[0] for answer in answers} == {200}
    busy.sendall(request("/"))
    assert read_answer(busy)[0] == 200, "the former process ended a connection that it carried"
    busy.close()
    assert former.wait(30) == 0
    control.close()


def test_no_request_is_answered_for_another_router_while_parts_are_killed(metadata: Metadata) -> None:
    """Routers come and go, and each part is killed in turn, while clients send requests without a pause."""
    routers = range(4)
    metadata.build(routers)
    metadata.start(*routers)
    is_over = False
    identities: Counter[bool] = Counter()
    failed: Counter[int] = Counter()

    def send_requests(number: int) -> None:
        while not is_over:
            try:
                status, seen = metadata.get(number, f"X-Neutron-Router-ID: {router_id(number ^ 1)}")
            except OSError:
                failed[number] += 1
                continue
            if status == 200:
                identities[headers_named(seen, "X-Neutron-Router-ID") == [router_id(number)]] += 1
            else:
                assert status in (502, 503)

    def wait_for_answers() -> None:
        reached = identities[True] + 25
        poll(lambda: identities[True] > reached, timeout=30)

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(send_requests, number) for number in (*routers, *routers)]
        try:
            for _ in range(2):
                wait_for_answers()
                assert metadata.haproxy is not None and metadata.acceptor is not None
                metadata.haproxy.kill()
                metadata.start_haproxy()
                wait_for_answers()
                metadata.acceptor.kill()
                metadata.start_acceptor()
                for number in routers:
                    metadata.add(number)
                wait_for_answers()
                metadata.agent.stop()
                metadata.agent.start()
                wait_for_answers()
                before = failed[0] + failed[1]
                for number in (2, 3):
                    metadata.remove(number)
                    metadata.add(number)
                wait_for_answers()
                assert failed[0] + failed[1] == before, "removing a router affected another one"
        finally:
            is_over = True
        for client in clients:
            client.result()
    assert set(identities) == {True}
    assert [metadata.get(number)[0] for number in routers] == [200] * 4
