# SPDX-License-Identifier: Apache-2.0
"""The HTTP server against slow, silent and hostile clients; none of them blocks the agent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import eventlet
import pytest
from eventlet.green import socket

from l3agent.exceptions import ConfigError
from l3agent.ops import http
from l3agent.ops.http import HttpServer, Response
from l3agent.testing import no_leaked_greenthreads, running, wait_until
from tests.unit.ops.conftest import raw, request, serving


def broken() -> Response:
    raise RuntimeError("a bug of ours")


PAGES = {"/": lambda: Response(b"hello"), "/broken": broken, "/large": lambda: Response(b"x" * (8 << 20))}


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with serving(PAGES) as server:
        yield server


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the deadline of a request to half a second."""
    monkeypatch.setattr(http, "_REQUEST_S", 0.5)


def test_a_page_and_its_head(server: HttpServer) -> None:
    status_page, head = request(server.port, "/"), request(server.port, "/", "HEAD")
    assert (status_page.status, status_page.body, head.status, head.body) == (200, b"hello", 200, b"")
    assert head.headers["Content-Length"] == "5"


@pytest.mark.parametrize("path", ["/none", "/../etc/passwd", "/%2e%2e/", "/metrics%00"])
def test_an_unknown_path_is_named_as_such(server: HttpServer, path: str) -> None:
    assert request(server.port, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "NONSENSE"])
def test_nothing_can_be_done_only_looked_at(server: HttpServer, method: str) -> None:
    assert request(server.port, "/", method).status == 405


def test_every_answer_keeps_browsers_from_doing_more_than_they_should(server: HttpServer) -> None:
    for path in ("/", "/none", "/broken"):
        headers = request(server.port, path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cache-Control"] == "no-store"
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Access-Control-Allow-Origin" not in headers


def test_a_bug_costs_one_answer_and_tells_nothing(server: HttpServer) -> None:
    answer = request(server.port, "/broken")
    assert answer.status == 500 and "Traceback" not in answer.text and "a bug of ours" not in answer.text
    assert request(server.port, "/").status == 200


@pytest.mark.parametrize("host", ["evil.example.org", "evil.example.org:80", "127.0.0.1.evil.example.org"])
def test_a_name_that_was_made_to_lead_here_is_not_answered_to(server: HttpServer, host: str) -> None:
    assert request(server.port, "/", host=host).status == 421


@pytest.mark.parametrize("host", ["localhost:9796", "127.0.0.1", "[::1]:9796", "LOCALHOST"])
def test_names_of_this_machine_are(server: HttpServer, host: str) -> None:
    assert request(server.port, "/", host=host).status == 200


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff\x16\x03\x01\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 20_000
        + b"\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_the_next_one_is_answered(
    server: HttpServer, data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    # The server may close the connection early, or answer in the form of HTTP/0.9.
    with suppress(OSError, IndexError, ValueError):
        assert raw(server.port, data).status in (400, 414, 431)
    assert request(server.port, "/").status == 200
    assert capfd.readouterr().err == ""


def test_silent_and_slow_clients_are_hung_up_on(short: None, server: HttpServer) -> None:
    with (
        socket.create_connection(("127.0.0.1", server.port)) as silent,
        socket.create_connection(("127.0.0.1", server.port)) as dripping,
    ):
        closed = []

        def drip() -> None:
            try:
                while True:
                    dripping.sendall(b"G")
                    eventlet.sleep(0.05)
            except OSError:
                closed.append("dripping")

        dripper = eventlet.spawn(drip)
        silent.settimeout(20)
        assert silent.recv(10) == b""
        wait_until(lambda: closed, timeout=20)
        dripper.kill()
    assert request(server.port, "/").status == 200


def test_a_client_that_does_not_read_is_hung_up_on(short: None, server: HttpServer) -> None:
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", server.port))
        deaf.sendall(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        wait_until(lambda: server._clients.running() == 1, timeout=10)
        wait_until(lambda: server._clients.running() == 0, timeout=20)
    assert request(server.port, "/").status == 200


def test_a_crowd_takes_a_bounded_number_of_places_and_goes(short: None, server: HttpServer) -> None:
    crowd = []
    for _ in range(24):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", server.port))
        crowd.append(one)
    wait_until(lambda: len(server._clients.admission) >= 10, timeout=10)
    assert len(server._clients.admission) <= 16
    late: list[float] = []

    def read_state() -> None:
        while True:
            started = time.monotonic()
            eventlet.sleep(0.01)
            late.append(time.monotonic() - started)

    looker = eventlet.spawn(read_state)
    assert request(server.port, "/").status == 200
    wait_until(lambda: len(late) > 1)  # the hub runs
    looker.kill()
    for one in crowd:
        one.close()


def test_idle_connections_of_others_do_not_delay_a_request(server: HttpServer) -> None:
    """With the deadline of 10 s in force: an answer within it shows that no idle connection was waited for."""
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(34)]
    with eventlet.Timeout(http._REQUEST_S / 2):
        assert request(server.port, "/").status == 200
    assert idle[0].recv(1) == b""  # the oldest made room
    for one in idle:
        one.close()


def test_a_stop_hangs_up_and_leaves_nothing() -> None:
    with no_leaked_greenthreads():
        server = HttpServer("127.0.0.1", 0, PAGES)
        with running(server):
            clients = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(3)]
            wait_until(lambda: server._clients.running() == 3)
        for client in clients:
            assert client.recv(1) == b""
            client.close()
        server.stop()


def test_an_address_that_others_reach_needs_a_word_of_its_own() -> None:
    for address in ("0.0.0.0", "::", "192.0.2.1"):
        with pytest.raises(ConfigError, match=rf"bind_address: {address}.*allow_remote"):
            HttpServer(address, 0, PAGES)
    with running(server := HttpServer("0.0.0.0", 0, PAGES, allow_remote=True)):
        assert request(server.port, "/", host="node1.example.org").status == 200


@pytest.mark.parametrize("address", ["nonsense", "localhost", ""])
def test_an_address_is_an_ip_address(address: str) -> None:
    with pytest.raises(ConfigError, match=r"\[http\] bind_address"):
        HttpServer(address, 0, PAGES)


def test_a_port_in_use_is_an_error(server: HttpServer) -> None:
    with pytest.raises(ConfigError, match=rf"port {server.port}: Address already in use"):
        HttpServer("127.0.0.1", server.port, PAGES).start()


def test_it_listens_on_ipv6_too() -> None:
    with running(server := HttpServer("::1", 0, PAGES)), socket.create_connection(("::1", server.port)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.")
