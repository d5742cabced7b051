# SPDX-License-Identifier: Apache-2.0
"""Metadata requests through the real ``l3-metadata`` and haproxy, from clients in networks with equal addresses."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from l3agent.metadata.proxy_protocol import encode_header
from l3agent.model.haproxy import MAX_REQUEST
from l3agent.model.metadata_messages import AddRouter, QueryStatus, encode_request
from tests.support.metadata import (
    CLIENT_ADDRESS,
    METADATA_IPV6,
    PORT,
    ROUTER_ADDRESS,
    Metadata,
    chain,
    router_id,
)
from tests.support.metadata_agent import headers_named, is_closed, read_answer, request
from tests.support.sandbox import NOBODY, Sandbox
from tests.support.waiting import poll

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can enter the namespaces of a sandbox"),
]
#: Of the machine: another user may not reach the interpreter of the tests.
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def shared() -> Iterator[Metadata]:
    """Two routers, and all parts running, for tests that leave them so."""
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    try:
        with Sandbox() as sandbox, chain(sandbox, folder) as metadata:
            metadata.build(range(2))
            metadata.start(0, 1)
            yield metadata
    finally:
        shutil.rmtree(folder)


# ---- identity -------------------------------------------------------------------------------------------------------


def test_requests_of_many_routers_carry_their_own_identity(metadata: Metadata) -> None:
    routers = range(6)
    metadata.build(routers)
    metadata.start(*routers)
    numbers = [number for number in routers for _ in range(10)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(metadata.get, numbers))
    for number, (status, seen) in zip(numbers, answers, strict=True):
        assert status == 200
        assert headers_named(seen, "X-Neutron-Router-ID") == [router_id(number)]
        assert headers_named(seen, "X-Forwarded-For") == [CLIENT_ADDRESS]
    assert metadata.status()["results"]["forwarded"] == len(numbers)
    assert metadata.result(3, "forwarded") == 10
    log = metadata.haproxy_log.read_text(errors="replace")
    assert f"router={router_id(5)} 200" in log


def test_ipv6_clients_are_shared(shared: Metadata) -> None:
    status, seen = shared.get(1, address=METADATA_IPV6)
    assert status == 200
    assert headers_named(seen, "X-Neutron-Router-ID") == [router_id(1)]
    assert headers_named(seen, "X-Forwarded-For") == ["fe80::9"]


def test_headers_of_the_tenant_do_not_change_its_identity(shared: Metadata) -> None:
    names = ("X-Neutron-Router-ID", "x-neutron-network-id", "X_Neutron_Router_ID", "X-Neutron_Network-ID")
    names += (
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Instance-ID",
        "X-Instance-ID-Signature",
        "X-Tenant-ID",
    )
    names += (
        "X-Metadata-Provider",
        "X-Neutron-Anything",
        "Keep-Alive",
        "TE",
        "Proxy-Connection",
        "Proxy-Authorization",
    )
    status, seen = shared.get(
        0, *(f"{name}: forged" for name in names), "Connection: X-Neutron-Router-ID, X-Forwarded-For", "X-Kept: 1"
    )
    assert status == 200
    kept = dict(seen["headers"])
    assert "forged" not in kept.values()
    assert kept.pop("connection", "close") == "close"
    assert kept == {
        "host": "169.254.169.254",
        "x-kept": "1",
        "x-neutron-router-id": router_id(0),
        "x-forwarded-for": CLIENT_ADDRESS,
    }
    assert len(seen["headers"]) == len({name for name, _ in seen["headers"]})


def test_connections_that_were_not_redirected_are_reset(shared: Metadata) -> None:
    refused, forwarded = shared.result(0, "not_redirected"), shared.result(0, "forwarded")
    for address in (ROUTER_ADDRESS, "fe80::1"):
        with shared.connect(0, address=address, port=PORT) as client:
            client.sendall(request("/"))
            assert is_closed(client)
    poll(lambda: shared.result(0, "not_redirected") == refused + 2)
    assert shared.result(0, "forwarded") == forwarded
    assert shared.get(0)[0] == 200


@pytest.mark.parametrize("router", [b"", b"none", b"x" * 36, b"aaaaaaaa-0000-4000-8000-00000000000\xff"])
def test_haproxy_forwards_no_request_without_the_id_of_a_router(shared: Metadata, router: bytes) -> None:
    header = encode_header((bytes(4), 1), (bytes(4), 80), b"\x05\x00" + bytes([len(router)]) + router)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(shared.front))
        client.sendall(header + request("/", f"X-Neutron-Router-ID: {router_id(0)}"))
        assert read_answer(client)[0] == 403


def test_haproxy_serves_no_connection_without_a_header_or_a_router(shared: Metadata) -> None:
    for header in (b"", encode_header((bytes(4), 1), (bytes(4), 80), b"")):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(shared.front))
            client.sendall(header + request("/", f"X-Neutron-Router-ID: {router_id(0)}"))
            answer = client.recv(4096)
            assert answer == b"" or b" 403 " in answer


def test_another_local_user_cannot_connect_to_haproxy(shared: Metadata) -> None:
    shared.folder.chmod(0o755)
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(shared.front)!r})"
    for mode in (0o700, 0o755):  # of the folder: the socket alone is enough as well
        shared.front.parent.chmod(mode)
        done = subprocess.run(
            [PYTHON, "-c", code], user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, check=False
        )
        assert b"PermissionError" in done.stderr
    assert shared.front.stat().st_mode & 0o777 == 0o600


def test_nothing_is_sent_to_a_socket_of_another_user(metadata: Metadata, folder: Path) -> None:
    folder.chmod(0o755)
    metadata.front.parent.chmod(0o777)
    metadata.build(range(1))
    metadata.start_acceptor()
    metadata.add(0)
    code = f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({str(metadata.front)!r}); s.listen()"
    code += "; print(flush=True); s.accept()[0].recv(1)"
    impostor = metadata.sandbox.popen(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", PYTHON, "-c", code],
        stdout=subprocess.PIPE,
    )
    with impostor.stdout as ready:
        ready.readline()
        assert metadata.get(0)[0] == 503
    assert f"user {NOBODY} listens there" in metadata.log.read_text()
    impostor.kill()


# ---- requests -------------------------------------------------------------------------------------------------------


def test_a_body_arrives_with_its_headers(shared: Metadata) -> None:
    whole = request("/openstack/latest/password", method="POST", body=b"x" * 3000)
    with shared.connect(0) as client:
        for part in (whole[:20], whole[20:500], whole[500:]):
            client.sendall(part)
            time.sleep(0.05)
        status, seen = read_answer(client)
    assert (status, seen["body"]) == (200, 3000)


def test_requests_larger_than_the_agent_reads_are_rejected(shared: Metadata) -> None:
    fits = None
    for size in range(3700, 4200, 25):
        with shared.connect(0) as client:
            client.sendall(request("/", method="POST", body=b"x" * size))
            status, seen = read_answer(client)
        if status == 200:
            fits = seen
            assert seen["body"] == size, "the agent read a part of the body"
            assert headers_named(seen, "X-Forwarded-For") == [CLIENT_ADDRESS]
        else:
            assert status == 413
    assert fits is not None and MAX_REQUEST - 100 < fits["bytes"] <= MAX_REQUEST, "the limit wastes too much"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (request("/", f"X-Large: {'x' * 5000}"), {413}),
        (request("/" + "x" * 5000), {413}),
        (request("/", "Content-Length: 100000000", method="POST"), {413}),
        (request("/", "Content-Length: 99999999999999999999", method="POST"), {400, 413}),
        (request("/", f"X-Large: {'x' * 30000}"), {400, 413}),
        (request("/", method="POST", body=b"x" * 200_000), {413}),
        (request("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n0\r\n\r\n", {411}),
        (request("/", "Content-Length: 5", "Transfer-Encoding: chunked", method="POST"), {400, 411}),
        (b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n", {405}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 405, 505}),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", {400}),
    ],
    ids=[
        "header",
        "path",
        "length",
        "overflow",
        "huge header",
        "body",
        "chunked",
        "smuggled",
        "connect",
        "http2",
        "tls",
    ],
)
def test_a_request_that_the_agent_cannot_read_is_answered(shared: Metadata, sent: bytes, statuses: set[int]) -> None:
    with shared.connect(0) as client:
        client.sendall(sent)
        assert read_answer(client)[0] in statuses
    assert shared.get(0)[0] == 200


def test_lines_of_the_log_name_the_router_of_invalid_requests(shared: Metadata) -> None:
    with shared.connect(1) as client:
        client.sendall(b"not a request\r\n\r\n")
        assert read_answer(client)[0] == 400
    poll(lambda: f"router={router_id(1)} 400 " in shared.haproxy_log.read_text(errors="replace"), timeout=30)


def test_a_client_that_has_sent_everything_gets_its_answer(shared: Metadata) -> None:
    with shared.connect(0) as client:
        client.sendall(request("/"))
        client.shutdown(socket.SHUT_WR)
        assert read_answer(client)[0] == 200
        assert is_closed(client)
    poll(lambda: shared.status()["connections"] == 0)


def test_a_connection_serves_several_requests(shared: Metadata) -> None:
    forwarded = shared.result(0, "forwarded")
    with shared.connect(0) as client:
        for _ in range(3):
            client.sendall(request("/"))
            assert read_answer(client)[0] == 200
    poll(lambda: shared.status()["connections"] == 0)
    assert shared.result(0, "forwarded") == forwarded + 1


# ---- requests of the parent ------------------------------------------------------------------------------------------


def test_invalid_requests_of_the_parent_change_nothing(shared: Metadata) -> None:
    assert shared.acceptor is not None
    number = router_id(7)
    with socket.socket() as unconnected, open(os.devnull) as file:
        for packet, descriptors, reason in (
            (b"{", [], "expected JSON"),
            (b"[]", [], "expected a JSON object"),
            (encode_request(1, AddRouter(number)), [], "expected 1 to 2 listening sockets"),
            (encode_request(1, AddRouter(number)), [unconnected.fileno()], "expected a listening TCP socket"),
            (encode_request(1, AddRouter(number)), [file.fileno()], "expected a listening TCP socket"),
            (encode_request(1, AddRouter(number)), [shared.listeners[0].fileno()] * 3, "too many"),
            (encode_request(1, QueryStatus()), [shared.listeners[0].fileno()], "expected none"),
            (b'{"id":1,"op":"add_router","router":"../x"}', [], "expected the id of a router"),
        ):
            answer = shared.exchange(packet, *descriptors)
            assert answer.error is not None and reason in answer.error
    assert set(shared.status()["routers"]) == {router_id(0), router_id(1)}
    assert len(os.listdir(f"/proc/{shared.acceptor.pid}/fd")) < 20
    assert shared.get(0)[0] == 200


def test_the_process_needs_no_privilege(metadata: Metadata, folder: Path) -> None:
    folder.chmod(0o755)
    metadata.front.parent.chmod(0o700)
    os.chown(metadata.front.parent, NOBODY, NOBODY)
    metadata.build(range(1))
    metadata.agent.start()
    prefix = (
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        "--bounding-set=-all",
        "--no-new-privs",
    )
    metadata.start_haproxy(prefix=prefix)
    metadata.start_acceptor(NOBODY)
    status = Path(f"/proc/{metadata.acceptor.pid}/status").read_text()
    assert f"Uid:\t{NOBODY}\t{NOBODY}" in status and "CapPrm:\t0000000000000000" in status
    metadata.add(0)
    assert metadata.get(0)[0] == 200
    assert metadata.get(0, address=METADATA_IPV6)[0] == 200
