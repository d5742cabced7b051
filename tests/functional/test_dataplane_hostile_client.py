# SPDX-License-Identifier: Apache-2.0
"""A client that means ill, or does not read: the data plane stays small, fast and legible."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

import msgpack
import pytest

from l3agent.model.wire import pack_state
from l3agent.testing import wait_until
from tests.functional.test_dataplane_large import large
from tests.support.processes import Dataplane
from tests.support.states import key, namespace, new_id, port, router

pytestmark = pytest.mark.kernel


def resident_mb(machine: Dataplane, kind: str = "VmRSS") -> float:
    (line,) = (one for one in Path(f"/proc/{machine.pid}/status").read_text().splitlines() if one.startswith(kind))
    return int(line.split()[1]) / 1000


def refused(machine: Dataplane, frame: bytes) -> None:
    """Send bytes as a client that is hung up on."""
    machine.hang_up()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(str(machine.socket_path))
        try:
            client.sendall(frame)
            assert client.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            pass


@pytest.mark.feature("dataplane.hostile-client")
@pytest.mark.parametrize(
    "frame",
    [
        b"\x93\x01\xa5hello" + b"\xc6" + struct.pack(">I", 60_000_000) + bytes(60_000_000),
        b"\x93\x01\xdb" + struct.pack(">I", 60_000_000) + b"x" * 60_000_000,
        b"\x93\x01\xa5hello" + (b"\xdd" + struct.pack(">I", 100_000) + b"\x90" * 99_999) * 600,
        b"\x93\x01\xa5hello" + b"\x91" * 3_000_000,
    ],
    ids=["bytes", "operation", "lists", "nesting"],
)
def test_a_frame_without_bounds_costs_little(machine: Dataplane, frame: bytes) -> None:
    machine.request("hello", {})
    before = resident_mb(machine, "VmHWM")
    refused(machine, frame)
    assert resident_mb(machine, "VmHWM") < max(before, 400)
    assert max(map(len, machine.log.read_bytes().splitlines())) < 1000
    assert machine.request("hello", {})["pid"]


@pytest.mark.feature("dataplane.hostile-client")
def test_input_of_a_client_is_short_and_legible_in_the_log(machine: Dataplane) -> None:
    for name in ("x" * 4000, "\x1b[31mred\nforged line"):
        with pytest.raises(AssertionError, match="unknown operation"):
            machine.request(name, {})
    wire = {"kind": "router", "id": "\x1b]0;title\x07\nforged line", "state": {"ports": []}}
    (report,) = machine.request("reconcile", {"states": [wire], "lines": 1})
    assert "refused" in report["error"]
    written = machine.log.read_bytes()
    assert b"\x1b" not in written and b"\x07" not in written
    assert not any(line.startswith(b"forged") for line in written.splitlines())
    assert max(map(len, written.splitlines())) < 1000


@pytest.mark.parametrize("lines", [float("inf"), float("nan"), "7", [1], None])
def test_a_number_of_lines_that_is_none_is_an_error_and_no_defect(machine: Dataplane, lines: object) -> None:
    with pytest.raises(AssertionError, match="expected a whole number"):
        machine.request("reconcile", {"states": [], "lines": lines})
    assert "Traceback" not in machine.log.read_text()


@pytest.mark.feature("dataplane.hostile-client")
def test_dry_runs_of_routers_that_are_not_here_leave_nothing_behind(machine: Dataplane) -> None:
    def trial(times: int) -> None:
        for _ in range(times):
            state = large(10)
            wire = pack_state(key(state), state)
            machine.request("reconcile", {"states": [wire], "dry_run": True, "lines": 1})

    trial(500)
    before = resident_mb(machine)
    trial(3000)
    assert resident_mb(machine) < before + 8


@pytest.mark.feature("dataplane.hostile-client")
def test_a_client_that_does_not_read_stops_nothing(machine: Dataplane) -> None:
    inner = port(new_id(), "10.0.0.1/24")
    standing, wide = router(inner), large(3000)
    assert machine.reconcile((key(standing), standing))[0].error is None
    for _ in range(20):
        machine.send("reconcile", {"states": [pack_state(key(wide), wide)], "dry_run": True})
    machine.sandbox.run(["ip", "address", "delete", "10.0.0.1/24", "dev", inner.device], netns=namespace(standing))

    def is_repaired() -> bool:
        return "10.0.0.1/24" in machine.sandbox.run(["ip", "address"], netns=namespace(standing))

    wait_until(is_repaired, timeout=60)
    assert "could not be delivered" not in machine.log.read_text()
    wait_until(lambda: "nothing was read for" in machine.log.read_text(), timeout=60)
    machine.hang_up()
    assert machine.reconcile((key(standing), None))[0].error is None


def test_another_client_is_answered_while_hundreds_of_requests_wait(machine: Dataplane) -> None:
    machine.hang_up()
    states = [router(port(new_id(), "10.0.0.1/24")) for _ in range(200)]
    requests = (msgpack.packb([1, "reconcile", {"states": [pack_state(key(one), one)]}]) for one in states)
    with socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as other:
        client.connect(str(machine.socket_path))
        client.sendall(msgpack.packb([1, "hello", {}]))
        client.recv(4096)
        # Both are there before the data plane looks: the requests first, in one read.
        with machine.paused():
            client.sendall(b"".join(requests))
            other.settimeout(60)
            other.connect(str(machine.socket_path))
        assert b"Busy" in other.recv(4096)
        assert len(machine.sandbox.namespaces() & {namespace(one) for one in states}) < len(states)
    reports = machine.reconcile(*((key(one), None) for one in states))
    assert {report.error for report in reports} == {None}
