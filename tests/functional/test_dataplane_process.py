# SPDX-License-Identifier: Apache-2.0
"""Life of the real ``l3-dataplane`` process: clients that come and go, signals, a second one."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import socket
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

from l3agent.model.desired import desired_state
from l3agent.model.states import NextHop, Route
from l3agent.testing import wait_until
from tests.functional.support.processes import SCRIPTS, Dataplane, last_lines
from tests.payloads import a_router, legacy_payload

ROUTER = legacy_payload()["id"]


def answers(dataplane: Dataplane) -> bool:
    try:
        return bool(dataplane.request("hello", {})["version"])
    except (AssertionError, OSError, EOFError):
        return False
    finally:
        dataplane.hang_up()


def test_clients_that_come_and_go_at_once_never_harm_the_next(dataplane: Dataplane) -> None:
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as passing:
            passing.connect(str(dataplane.socket_path))
        assert dataplane.request("hello", {})["version"]
        dataplane.hang_up()


def test_a_client_that_leaves_its_answers_unread_never_harms_the_next(dataplane: Dataplane) -> None:
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as rude:
            rude.connect(str(dataplane.socket_path))
            rude.sendall(b"\x93\x01\xa5hello\x80" * 50)
        # Busy for the moment in which the requests of the rude one are still read.
        wait_until(lambda: answers(dataplane), timeout=5)


def test_bytes_that_are_no_frame_end_that_connection_only(dataplane: Dataplane) -> None:
    with socket.socket(socket.AF_UNIX) as babbler:
        babbler.connect(str(dataplane.socket_path))
        babbler.settimeout(10)
        babbler.sendall(b"\xc1" * 100)
        assert babbler.recv(1) == b""
    assert dataplane.request("hello", {})["version"]


def test_a_second_client_is_told_that_the_data_plane_is_taken(dataplane: Dataplane) -> None:
    dataplane.request("hello", {})
    with socket.socket(socket.AF_UNIX) as second:
        second.connect(str(dataplane.socket_path))
        second.settimeout(10)
        assert b"Busy" in second.recv(4096)
    assert dataplane.request("hello", {})["version"]


def test_a_state_that_the_kernel_refuses_never_harms_the_others(dataplane: Dataplane) -> None:
    sound = desired_state(a_router())
    nowhere = Route(ip_network("172.30.0.0/24"), frozenset({NextHop("qr-a0000001-00", ip_address("192.0.2.1"))}))
    refused = dataclasses.replace(sound, routes=sound.routes | {nowhere})
    good = desired_state(legacy_payload())
    first, second = dataplane.reconcile((("router", refused.id), refused), (("router", good.id), good))
    assert first.error is not None and "172.30.0.0/24" in first.error
    assert second.error is None and second.operations


def test_sigterm_ends_it_in_good_order_and_the_routers_stay(dataplane: Dataplane) -> None:
    dataplane.reconcile((("router", ROUTER), desired_state(legacy_payload())))
    assert dataplane.stop() == 0
    assert dataplane.sandbox.namespaces() == {f"qrouter-{ROUTER}"}


def test_a_second_data_plane_of_one_namespace_folder_leaves_with_status_75(dataplane: Dataplane, folder: Path) -> None:
    conf = folder / "second.conf"
    conf.write_text(f"[dataplane]\nsocket = {folder}/second.sock\n")
    second = dataplane.sandbox.popen(
        [str(SCRIPTS / "l3-dataplane"), "--config-file", str(conf)], stderr=subprocess.PIPE, text=True
    )
    assert second.wait(20) == 75
    assert "another data plane" in second.entrance.stderr.read()
    second.entrance.stderr.close()


def test_sigkill_at_any_moment_is_survived(dataplane: Dataplane) -> None:
    key = ("router", ROUTER)
    states = [desired_state(legacy_payload()), None]
    for moment in range(1, 9):
        state = states[moment % 2]
        victim = dataplane.pid
        request = subprocess.Popen(
            ["sh", "-c", f"sleep {moment * 0.002}; kill -{signal.SIGKILL.value} {victim}"], stdin=subprocess.DEVNULL
        )
        with contextlib.suppress(OSError, EOFError):
            dataplane.reconcile((key, state))
        request.wait(10)
        wait_until(lambda: dataplane.status is not None, timeout=10)
        dataplane.hang_up()
        dataplane.start()
        (report,) = dataplane.reconcile((key, state))
        assert report.error is None, last_lines(dataplane.log)
        (again,) = dataplane.reconcile((key, state))
        assert again.operations == ()
