# SPDX-License-Identifier: Apache-2.0
"""Life of the real ``l3-dataplane`` process: clients that come and go, signals, a second one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
from ipaddress import ip_address, ip_network
from pathlib import Path

import eventlet
import pytest

from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE, device_name
from l3agent.model.states import NamespaceState, NextHop, Port, Route
from l3agent.testing import wait_until
from tests.support.kernel import observed
from tests.support.payloads import a_router, legacy_payload
from tests.support.processes import SCRIPTS, Dataplane, last_lines
from tests.support.sandbox import Sandbox
from tests.support.states import desired_namespace, port, route, router

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
        wait_until(lambda: answers(dataplane), timeout=30)


def test_bytes_that_are_no_frame_end_that_connection_only(dataplane: Dataplane) -> None:
    with socket.socket(socket.AF_UNIX) as babbler:
        babbler.connect(str(dataplane.socket_path))
        babbler.settimeout(10)
        babbler.sendall(b"\xc1" * 100)
        assert babbler.recv(1) == b""
    assert dataplane.request("hello", {})["version"]


def test_a_second_client_is_refused_as_busy(dataplane: Dataplane) -> None:
    dataplane.request("hello", {})
    with socket.socket(socket.AF_UNIX) as second:
        second.connect(str(dataplane.socket_path))
        second.settimeout(10)
        assert b"Busy" in second.recv(4096)
    assert dataplane.request("hello", {})["version"]


def test_a_state_that_the_kernel_refuses_never_harms_the_others(dataplane: Dataplane) -> None:
    sound = desired_namespace(a_router())
    nowhere = Route(ip_network("172.30.0.0/24"), frozenset({NextHop("qr-a0000001-00", ip_address("192.0.2.1"))}))
    refused = dataclasses.replace(sound, routes=sound.routes | {nowhere})
    good = desired_namespace(legacy_payload())
    first, second = dataplane.reconcile((("router", refused.id), refused), (("router", good.id), good))
    assert first.error is not None and "172.30.0.0/24" in first.error
    assert second.error is None and second.operations


@pytest.mark.feature("process.stop-keeps-routers")
def test_sigterm_ends_it_in_good_order_and_the_routers_stay(dataplane: Dataplane) -> None:
    dataplane.reconcile((("router", ROUTER), desired_namespace(legacy_payload())))
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
    # Other programs create namespaces beside ours: ip-netns(8) waits for a lock on the directory itself.
    dataplane.sandbox.run(["ip", "netns", "add", "another"])


@pytest.mark.feature("dataplane.privilege")
def test_no_log_is_written_where_another_user_could_have_it_lead_elsewhere(dataplane: Dataplane, folder: Path) -> None:
    """A link of the agent's user in its own folder would give him any file of root."""
    foreign = folder / "of-the-agent"
    foreign.mkdir()
    os.chown(foreign, 65534, 65534)
    conf = folder / "second.conf"
    for option, status, output in (
        (
            f"log_file = {foreign}/dataplane.log",
            78,
            f"{foreign}/dataplane.log: another user than root can change its directory",
        ),
        (f"log_file = {foreign}/nowhere/dataplane.log", 78, "nowhere/dataplane.log: No such file"),
        ("", 75, "another data plane"),  # the folder in [DEFAULT] is the agent's
    ):
        conf.write_text(f"[DEFAULT]\nlog_dir = {foreign}\n[dataplane]\nsocket = {folder}/second.sock\n{option}\n")
        second = dataplane.sandbox.popen(
            [str(SCRIPTS / "l3-dataplane"), "--config-file", str(conf)], stderr=subprocess.PIPE, text=True
        )
        assert second.wait(20) == status
        assert output in second.entrance.stderr.read()
        second.entrance.stderr.close()
    assert list(foreign.iterdir()) == []


def many(count: int, variant: int) -> list[NamespaceState]:
    """Return routers with the same ids and ports each time; ``variant`` changes what else they have."""
    made = []
    for number in range(count):
        inner = port_of(number, f"10.0.{number}.1/24", f"2001:db8:{number:x}::1/64")
        gateway = port_of(number, f"203.0.113.{number + 1}/24", gateway=True)
        routes = [route("0.0.0.0/0", (gateway, "203.0.113.254"))]
        routes += [route("172.30.0.0/24", (inner, f"10.0.{number}.7"))] if variant else []
        fips = {f"198.51.100.{number + 1}": f"10.0.{number}.{5 + variant}"}
        state = router(inner, gateway=gateway, routes=routes, fips=fips)
        made.append(dataclasses.replace(state, id=f"c{number:07x}-0000-4000-8000-000000000000"))
    return made


def port_of(number: int, *addresses: str, gateway: bool = False) -> Port:
    kind = "e" if gateway else "f"
    port_id = f"{kind}{number:07x}-0000-4000-8000-000000000000"
    network = "d0000000-0000-4000-8000-000000000000" if gateway else f"d{number + 1:07x}-0000-4000-8000-000000000000"
    device = device_name(GATEWAY_DEVICE if gateway else INTERNAL_DEVICE, port_id)
    return dataclasses.replace(port(network, *addresses, gateway=gateway), id=port_id, device=device)


def test_sigkill_at_any_moment_is_survived(dataplane: Dataplane) -> None:
    """Twenty routers are built, changed and removed again and again, by processes that are killed meanwhile."""
    first, second = many(20, 0), many(20, 1)
    links = {link["ifname"] for link in dataplane.sandbox.json("ip -j link")}
    for moment in range(9):
        states = [(("router", one.id), one if moment % 3 < 2 else None) for one in (first, second, first)[moment % 3]]
        killer = eventlet.spawn_after(0.003 + moment * 0.004, os.kill, dataplane.pid, signal.SIGKILL)
        with contextlib.suppress(OSError, EOFError):
            dataplane.reconcile(*states)
        killer.wait()
        wait_until(lambda: dataplane.status is not None, timeout=10)
        dataplane.hang_up()
        dataplane.start()
        if moment % 3 == 1:
            # Half done in one direction, then another: what counts is the last.
            continue
        reports = dataplane.reconcile(*states)
        assert [report.error for report in reports] == [None] * len(states), last_lines(dataplane.log)
        assert [report.operations for report in dataplane.reconcile(*states)] == [()] * len(states)
    wait_until(lambda: {link["ifname"] for link in dataplane.sandbox.json("ip -j link")} == links, timeout=20)
    assert dataplane.sandbox.namespaces() == set()
    assert [report.error for report in dataplane.reconcile(*((("router", one.id), one) for one in second))] == [
        None
    ] * 20
    (last,) = (one for one in second if one.id == second[-1].id)
    facts = observed(dataplane.sandbox, f"qrouter-{last.id}")
    assert facts.dnat == {"198.51.100.20": "10.0.19.6"}


@pytest.mark.feature("operation.audit-log")
def test_the_debug_log_tells_all_that_is_done_to_a_router_repairs_too(sandbox: Sandbox, folder: Path) -> None:
    dataplane = Dataplane(sandbox, folder)
    with (folder / "dataplane.conf").open("a") as conf:
        conf.write("\n[DEFAULT]\ndebug = true\n")
    dataplane.start()
    inner = port("a0000000-0000-4000-8000-000000000001", "10.0.0.1/24")
    state = router(inner)
    (built,) = dataplane.reconcile((("router", state.id), state))
    lost = f"ip -n qrouter-{state.id} address add 10.0.0.1/24 broadcast 10.0.0.255 dev {inner.device}"
    sandbox.run(["ip", "-n", f"qrouter-{state.id}", "address", "delete", "10.0.0.1/24", "dev", inner.device])
    wait_until(lambda: dataplane.log.read_text().count(f" router {state.id}: {lost} ") == 2)
    output = dataplane.log.read_text()
    at = [output.index(f" router {state.id}: {line} ") for line in built.operations]
    assert at == sorted(at) and len(at) > 5
    dataplane.hang_up()
