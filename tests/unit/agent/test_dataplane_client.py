# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import eventlet
import msgpack
import pytest
from eventlet.green import os, socket

from l3agent import __version__
from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.dataplane_process import DataplaneProcess
from l3agent.exceptions import ApplyError, ConfigError, DataplaneUnavailable, PermissionMissing
from l3agent.model.protocol import PROTOCOL
from l3agent.model.states import Key
from l3agent.testing import wait_until

R1: Key = ("router", "c0000000-0000-4000-8000-000000000000")


class Peer:
    """The peer of the client, with configurable answers."""

    def __init__(self, path: Path, pid: int = 1, version: str = __version__) -> None:
        self.path, self.pid, self.version, self.process = str(path), pid, version, "first"
        self.protocol: Any = PROTOCOL
        self.requests: list[Any] = []
        self.answers: dict[str, Any] = {"inventory": {"router": [], "host": [], "network": []}}
        self.delays: dict[str, float] = {}
        self.silent = False
        self._connections: list[Any] = []
        Path(path).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(5)
        self._acceptor = eventlet.spawn(self._accept)

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            self._connections.append(connection)
            eventlet.spawn_n(self._serve, connection)

    def _serve(self, connection: Any) -> None:
        stream = msgpack.Unpacker(raw=False)
        try:
            while data := connection.recv(65536):
                stream.feed(data)
                for request in stream:
                    self.requests.append(request[1])
                    eventlet.spawn_n(self._answer, connection, *request)
        except (OSError, EOFError):
            pass

    def _answer(self, connection: Any, number: int, operation: str, args: Any) -> None:
        if operation == "hello":
            hello = {"version": self.version, "pid": self.pid, "process": self.process}
            if self.protocol is not None:
                hello["protocol"] = self.protocol
            self.send(connection, (number, None, hello))
            return
        eventlet.sleep(self.delays.get(operation, 0))
        if self.silent:
            return
        answer = self.answers.get(operation, [])
        if callable(answer):
            answer = answer(args)
        error = {"type": type(answer).__name__, "message": str(answer)} if isinstance(answer, Exception) else None
        self.send(connection, (number, error, None if error else answer))

    @staticmethod
    def send(connection: Any, frame: Any) -> None:
        with contextlib.suppress(OSError):
            connection.sendall(msgpack.packb(frame))

    def drop(self) -> None:
        for connection in self._connections:
            connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections = []

    def close(self) -> None:
        self._acceptor.kill()
        self.drop()
        self._listener.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="l3-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def path(folder: Path) -> Path:
    return folder / "dp.sock"


@pytest.fixture
def peer(path: Path) -> Iterator[Peer]:
    peer = Peer(path)
    yield peer
    peer.close()


@pytest.fixture
def client(path: Path, peer: Peer) -> Iterator[DataplaneClient]:
    client = DataplaneClient(str(path), timeout=0.3)
    client.start()
    yield client
    client.stop()


def reports(args: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"kind": one["kind"], "id": one["id"], "operations": ["x"], "error": None, "count": 1, "timings": {"plan": 0.5}}
        for one in args["states"]
    ]


def test_reports_come_back_for_the_states_sent(client: DataplaneClient, peer: Peer) -> None:
    peer.answers["reconcile"] = reports
    [report] = client.reconcile([(R1, None)])
    assert (report.kind, report.id, report.operations, report.count) == (*R1, ("x",), 1)


def test_a_slow_request_does_not_hold_up_another(client: DataplaneClient, peer: Peer) -> None:
    client._timeout, release = 10, eventlet.Event()
    peer.answers["reconcile"] = lambda args: release.wait()
    slow = eventlet.spawn(client.reconcile, [(R1, None)])
    wait_until(lambda: "reconcile" in peer.requests)
    assert client.inventory() == {"router": [], "host": [], "network": []}
    release.send([])
    assert slow.wait() == []


def test_a_request_without_an_answer_ends_at_its_deadline_and_leaves_nothing_behind(
    client: DataplaneClient, peer: Peer
) -> None:
    peer.silent = True
    with pytest.raises(DataplaneUnavailable, match=r"did not answer inventory within 0\.3 s"):
        client.inventory()
    assert not client._pending
    peer.silent = False
    assert client.inventory()


def test_an_answer_after_the_deadline_is_dropped(client: DataplaneClient, peer: Peer) -> None:
    peer.delays["inventory"] = 0.4
    with pytest.raises(DataplaneUnavailable):
        client.inventory()
    eventlet.sleep(0.2)
    peer.delays.clear()
    assert client.connected
    assert client.inventory()


def test_a_lost_connection_fails_every_request_under_way_and_comes_back(client: DataplaneClient, peer: Peer) -> None:
    peer.delays["inventory"] = 10
    requests = [eventlet.spawn(client.inventory) for _ in range(5)]
    wait_until(lambda: peer.requests.count("inventory") == 5)
    peer.drop()
    for request in requests:
        with pytest.raises(DataplaneUnavailable, match="lost"):
            request.wait()
    peer.delays.clear()
    assert client.inventory()


def test_a_request_waits_for_the_connection_that_is_being_made(path: Path, peer: Peer) -> None:
    client = DataplaneClient(str(path), timeout=2)
    peer.close()
    client.start()
    request = eventlet.spawn(client.inventory)
    eventlet.sleep(0.05)
    again = Peer(path)
    assert request.wait()
    client.stop()
    again.close()


def test_a_request_without_a_listener_fails_within_its_deadline(path: Path) -> None:
    client = DataplaneClient(str(path), timeout=0.1)
    client.start()
    with pytest.raises(DataplaneUnavailable):
        client.inventory()
    client.stop()


def test_an_error_of_an_operation_is_returned_with_its_reason(client: DataplaneClient, peer: Peer) -> None:
    peer.answers["inventory"] = OSError("no netlink")
    with pytest.raises(ApplyError, match="OSError: no netlink"):
        client.inventory()


def test_another_process_is_noticed_and_the_same_one_is_not(client: DataplaneClient, peer: Peer) -> None:
    noticed = []
    client.on_new_process(lambda: noticed.append(client.pid))
    peer.drop()
    wait_until(lambda: peer.requests.count("hello") == 2 and client.connected)
    assert noticed == []
    peer.process = "second"  # with the same process id, as it has in a container of its own
    peer.drop()
    wait_until(lambda: noticed == [1])


@pytest.mark.parametrize(
    ("number", "older"), [(None, "l3-dataplane"), (PROTOCOL - 1, "l3-dataplane"), (PROTOCOL + 1, "l3-agent")]
)
def test_another_protocol_is_rejected_and_the_older_process_is_named(
    path: Path, number: Any, older: str, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer(path, version="0.0.0")
    peer.protocol = number
    client = DataplaneClient(str(path), timeout=0.3)
    client.start()
    with pytest.raises(
        DataplaneUnavailable, match=rf": restart {older}: l3-dataplane 0\.0\.0 at .*the kernel state stays"
    ):
        client.inventory()
    assert (client.cause, client.version) == ("rejected", "0.0.0")
    assert client.reason is not None and "\n" not in client.reason
    # Restarted with the same protocol, whatever its version is, it is accepted.
    peer.protocol, peer.version = PROTOCOL, "9.9.9"
    wait_until(lambda: client.connected)
    found = (client.cause, client.reason, client.version)
    assert found == (None, None, "9.9.9")  # type: ignore[comparison-overlap]
    assert len([record for record in caplog.records if "restart" in record.getMessage()]) == 1
    client.stop()
    peer.close()


def test_a_protocol_that_is_no_number_fails_the_handshake(path: Path) -> None:
    peer = Peer(path)
    peer.protocol = "1"
    client = DataplaneClient(str(path), timeout=0.3)
    client.start()
    assert client.reason is not None and "handshake failed" in client.reason
    client.stop()
    peer.close()


def test_nonsense_from_the_other_end_costs_only_the_connection(client: DataplaneClient, peer: Peer) -> None:
    peer._connections[0].sendall(b"\xc1nonsense")
    wait_until(lambda: len(peer._connections) == 2 and client.connected)
    assert client.inventory()


def test_a_sender_killed_in_mid_frame_costs_only_the_connection(client: DataplaneClient, peer: Peer) -> None:
    """Kill the sender while its frame, larger than the buffer of the socket, is sent in part."""
    request = eventlet.spawn(client.reconcile, [(("router", "x" * 1000), None)] * 2000)
    eventlet.sleep(0)
    request.kill()
    assert not client.connected
    wait_until(lambda: client.connected)
    assert client.inventory()
    assert peer.requests.count("reconcile") == 0


def test_a_stopped_client_fails_what_is_under_way(client: DataplaneClient, peer: Peer) -> None:
    peer.silent = True
    request = eventlet.spawn(client.inventory)
    wait_until(lambda: "inventory" in peer.requests)
    client.stop()
    with pytest.raises(DataplaneUnavailable):
        request.wait()


# The process

SCRIPT = """
import os, socket, sys, time
{before}
sys.path[:0] = {path!r}
import msgpack
listener = socket.socket(socket.AF_UNIX)
try:
    os.unlink({sock!r})
except OSError:
    pass
listener.bind({sock!r})
listener.listen(1)
c, _ = listener.accept()
unpacker = msgpack.Unpacker(raw=False)
while data := c.recv(65536):
    unpacker.feed(data)
    for number, op, args in unpacker:
        seen = {{"router": sorted(os.environ), "fds": os.listdir("/proc/self/fd")}}
        hello = {{"protocol": {protocol}, "version": {version!r}, "pid": os.getpid(), "process": str(os.getpid())}}
        answer = hello if op == "hello" else seen
        c.sendall(msgpack.packb((number, None, answer)))
"""


def child(path: Path, before: str = "") -> DataplaneProcess:
    script = SCRIPT.format(sock=str(path), protocol=PROTOCOL, version=__version__, path=sys.path, before=before)
    return DataplaneProcess([sys.executable, "-c", script])


@pytest.mark.feature("driver.respawn")
def test_the_process_is_started_again_when_it_dies_and_none_is_left(path: Path) -> None:
    client = DataplaneClient(str(path), timeout=10, process=child(path))
    client.start()
    first = client.pid
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: client.pid != first and client.connected, timeout=10)
    second = client.pid
    assert not os.path.exists(f"/proc/{first}")
    client.stop()
    assert not os.path.exists(f"/proc/{second}")


def test_the_process_inherits_neither_environment_nor_sockets(path: Path) -> None:
    os.environ["SECRET"] = "1"
    sockets = [socket.socket() for _ in range(20)]
    client = DataplaneClient(str(path), timeout=10, process=child(path))
    client.start()
    found = client.inventory()
    assert "SECRET" not in found["router"]
    assert len(found["fds"]) < 10
    client.stop()
    del os.environ["SECRET"], sockets


@pytest.mark.parametrize(("status", "error"), [(77, PermissionMissing), (78, ConfigError)])
def test_the_status_of_a_process_that_exits_at_once_gives_the_reason(path: Path, status: int, error: Any) -> None:
    client = DataplaneClient(str(path), timeout=10, process=child(path, f"sys.exit({status})"))
    with pytest.raises(error, match=f"status {status}"):
        client.start()


def test_the_last_line_of_its_standard_error_is_in_the_error(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = "sys.stderr.write('first\\n' + 'x' * 200_000 + '\\n[AGENT] bad \\x1b[2J\\n\\n'); sys.exit(78)"
    client = DataplaneClient(str(path), timeout=10, process=child(path, before))
    with pytest.raises(ConfigError, match=r"status 78: \[AGENT\] bad \?\[2J$"):
        client.start()
    copied = capfd.readouterr().err
    assert "first" in copied and copied.count("x") == 200_000


def test_a_helper_that_refuses_is_a_missing_permission(path: Path) -> None:
    client = DataplaneClient(str(path), timeout=10, process=DataplaneProcess(["l3-dataplane"], helper=["false"]))
    with pytest.raises(PermissionMissing, match="false l3-dataplane"):
        client.start()


def test_a_process_that_fails_otherwise_is_started_again_with_growing_pauses(path: Path, folder: Path) -> None:
    count = folder / "count"
    before = f"open({str(count)!r}, 'a').write('x'); sys.exit(1)"
    client = DataplaneClient(str(path), timeout=10, process=child(path, before))
    client.start()
    wait_until(lambda: count.exists() and len(count.read_text()) >= 3, timeout=10)
    assert not client.connected
    client.stop()
