# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import eventlet
import pytest
from eventlet.green import socket

from l3agent import __version__
from l3agent.agent.composition import STATE_CACHE_FILE
from l3agent.agent.state_cache import StateCache
from l3agent.exceptions import (
    AlreadyRunning,
    ApplyError,
    ConfigError,
    DataplaneUnavailable,
    InternalError,
    L3AgentError,
    TransientError,
)
from l3agent.ops.control import ControlSocket
from l3agent.ops.control_client import call_agent
from l3agent.ops.control_operations import build_operations
from l3agent.ops.status import plans, show, status, topology
from l3agent.testing import FakeDataplane, FakePlugin, running, wait_until
from tests.support.agents import OpenAgent, as_client, router_state
from tests.support.payloads import a_floating_ip, a_router

R1, R2 = (f"cffffff{number}-0000-4000-8000-000000000000" for number in (1, 2))


@pytest.fixture
def path() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    yield folder / "c.sock"
    shutil.rmtree(folder)


def request(path: Path, *lines: Any) -> list[Any]:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(
            b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        )
        with client.makefile("rb") as answers:
            return [json.loads(answers.readline()) for _ in lines]


def refuse(request: Any) -> NoReturn:
    raise DataplaneUnavailable("gone")


@pytest.fixture
def control(path: Path) -> Iterator[ControlSocket]:
    build_operations = {"echo": lambda request: {"you": request["name"]}, "refuse": refuse}
    with running(control := ControlSocket(str(path), build_operations)):
        yield control


def test_requests_are_answered_line_by_line(control: ControlSocket, path: Path) -> None:
    assert request(path, {"op": "echo", "name": "a"}, {"op": "echo", "name": "b"}) == [{"you": "a"}, {"you": "b"}]


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[]\n", b'{"op": "destroy"}\n', b"{}\n", b'{"op": []}\n', b"\xff\n", b"[" * 60000 + b"\n"]
)
def test_what_is_no_request_gets_an_error_that_names_the_operations(
    control: ControlSocket, path: Path, line: Any
) -> None:
    [answer] = request(path, line)
    assert "echo, refuse" in answer["error"]
    assert request(path, {"op": "echo", "name": "still here"})


def test_an_error_of_this_project_is_returned_unchanged(control: ControlSocket, path: Path) -> None:
    assert request(path, {"op": "refuse"}) == [{"error": "gone", "kind": "TransientError"}]


def test_a_bug_in_an_operation_costs_one_answer(control: ControlSocket, path: Path) -> None:
    assert "KeyError" in request(path, {"op": "echo"})[0]["error"]


def test_an_operation_may_take_longer_than_its_answer_may_take_to_be_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("l3agent.ops.control._SEND_S", 0.2)

    def long(request: Any) -> dict[str, Any]:
        eventlet.sleep(0.5)
        return {"done": True}

    with running(ControlSocket(str(path), {"long": long})):
        assert request(path, {"op": "long"}) == [{"done": True}]


@pytest.mark.parametrize(("limit", "request_"), [("_IDLE_S", None), ("_SEND_S", {"op": "much"})])
def test_who_is_silent_or_does_not_read_keeps_no_place(
    path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, request_: Any
) -> None:
    monkeypatch.setattr(f"l3agent.ops.control.{limit}", 0.2)
    control = ControlSocket(str(path), {"much": lambda request: {"much": "x" * 10_000_000}})
    with running(control), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        if request_:
            client.sendall(json.dumps(request_).encode() + b"\n")
        wait_until(lambda: control._clients.running() == 1)
        wait_until(lambda: control._clients.running() == 0)


def test_idle_connections_do_not_delay_a_request(control: ControlSocket, path: Path) -> None:
    """With the idle deadline of 60 s in force; the clients of a test are one process, and so one client."""
    idle = [socket.socket(socket.AF_UNIX) for _ in range(70)]
    for one in idle:
        one.settimeout(30)
        one.connect(str(path))
        eventlet.sleep(0)
    with eventlet.Timeout(30):
        assert request(path, {"op": "echo", "name": "a"}) == [{"you": "a"}]
    assert idle[0].recv(1) == b""
    assert len(control._admission) <= 32
    for one in idle:
        one.close()


def test_without_file_descriptors_clients_wait_until_there_are_some(control: ControlSocket, path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket(socket.AF_UNIX) as client:
        with open(os.devnull) as lowest_free:
            most = lowest_free.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        try:
            client.connect(str(path))
            client.sendall(b'{"op": "echo", "name": "patient"}\n')
            eventlet.sleep(0.2)  # the acceptor meets EMFILE meanwhile
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with eventlet.Timeout(10):
            assert json.loads(client.recv(1000)) == {"you": "patient"}


def test_who_asks_gets_the_kind_of_error_that_the_agent_had(control: ControlSocket, path: Path) -> None:
    for request, kind in (({"op": "refuse"}, TransientError), ({"op": "echo"}, InternalError), ({}, L3AgentError)):
        with pytest.raises(L3AgentError) as refused:
            call_agent(str(path), request)
        assert type(refused.value) is kind


@pytest.mark.feature("operation.introspection")
def test_a_user_that_is_neither_root_nor_the_agents_is_refused_whatever_the_mode_of_the_file(
    control: ControlSocket, path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change its user")
    path.parent.chmod(0o711)
    path.chmod(0o666)
    code = (
        f"import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect({str(path)!r}); "
        'print(s.makefile().readline(), end="")'
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    answer = json.loads(process.stdout.readline())
    assert answer == {
        "error": "user 65534 has no access; run this as the user of l3-agent, or as root",
        "kind": "PermissionMissing",
    }
    assert process.wait(10) == 0
    assert request(path, {"op": "echo", "name": "still here"})


def test_only_the_user_of_the_agent_can_open_it(control: ControlSocket, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_left_by_a_dead_agent_is_replaced_and_ours_is_removed(path: Path) -> None:
    for name in (path, f"{path}.{os.getpid()}"):
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(name))
        left.close()
    with running(ControlSocket(str(path), {"ping": lambda request: {}})):
        assert request(path, {"op": "ping"}) == [{}]
    assert os.listdir(path.parent) == []


def test_the_socket_of_an_agent_that_lives_is_left_to_it(control: ControlSocket, path: Path) -> None:
    second = ControlSocket(str(path), {"ping": lambda request: {}})
    with pytest.raises(AlreadyRunning, match=f"another l3-agent listens on {path}"):
        second.start()
    second.stop()
    assert request(path, {"op": "echo", "name": "still here"})
    assert os.listdir(path.parent) == [path.name]


def test_a_socket_whose_owner_has_no_place_for_more_clients_is_left_to_it(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX) as waiting:
            waiting.connect(str(path))
            with eventlet.Timeout(10), pytest.raises(AlreadyRunning):
                ControlSocket(str(path), {}).start()


def test_a_socket_that_took_the_place_of_ours_is_not_removed_at_the_stop(path: Path) -> None:
    control = ControlSocket(str(path), {})
    with running(control):
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            inode = path.stat().st_ino
            control.stop()
            assert path.stat().st_ino == inode


def test_a_socket_of_another_user_is_not_taken(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can change its user")
    path.parent.chmod(0o777)
    with running(ControlSocket(str(path), {"ping": lambda request: {}})):
        code = (
            "import eventlet; eventlet.monkey_patch()\n"
            "from l3agent.exceptions import PermissionMissing\n"
            "from l3agent.ops.control import ControlSocket\n"
            f"import os; os.setuid(65534)\n"
            f"try: ControlSocket({str(path)!r}, {{}}).start()\n"
            "except PermissionMissing as exc: print(exc)\n"
        )
        argv = [sys.executable, "-W", "ignore", "-c", code]
        output = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert (
            output.stdout
            == f"{path}: belongs to another user, whose l3-agent may be running; if it is not, remove the file\n"
        ), output.stderr
        assert request(path, {"op": "ping"}) == [{}]


def test_a_folder_that_cannot_be_is_a_wrong_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="state_path"):
        ControlSocket(str(tmp_path / "file" / "c.sock"), {}).start()


def test_the_status_tells_all_of_each_router(agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1)}
    agent.routers_updated(None, [R1])
    wait_until(lambda: agent.full_sync.in_sync and agent.router_info and not any(agent.queue.counts().values()))
    answer = json.loads(json.dumps(status(agent.view, as_client(dataplane))))
    assert answer.pop("full_syncs") == 1
    assert answer.pop("unserved_features")["metadata"] == 1
    assert answer.pop("now") >= answer["routers"][R1]["updated_at"] > 0
    router = answer["routers"].pop(R1)
    assert answer == {
        "version": __version__,
        "host": "node1",
        "in_sync": True,
        "admin": "serving",
        "paused": [],
        "queue": {"waiting": 0, "processing": 0, "retrying": 0, "suspended": 0},
        "failures": {},
        "orphans": {},
        "mass_delete": {"held": [], "suspected_answers": 0},
        "workers": {"size": 8, "busy": 0},
        "dataplane": {"connected": True, "pid": 1, "version": __version__, "reason": None},
        "routers": {},
        "removed": [],
    }
    assert (router["name"], router["state"], router["error"]) == ("r1", "active", None)
    assert router["last"]["operations"] == [f"make router {R1}"]
    assert router["last"]["timings"].keys() >= {"wait", "observe", "plan", "apply"}


@pytest.mark.feature("sync.failed-list")
def test_failures_are_listed_with_reason_and_next_attempt(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1), R2: a_router(id=R2, _interfaces="none")}
    dataplane.fail_next(ApplyError("no room"), times=6)
    agent.routers_updated(None, [R1, R2])
    wait_until(lambda: {R1, R2} == status(agent.view, as_client(dataplane))["failures"].keys())
    wait_until(lambda: status(agent.view, as_client(dataplane))["failures"][R1]["attempts"] > 1)
    failures = status(agent.view, as_client(dataplane))["failures"]
    assert failures[R1]["reason"] == "no room" and failures[R1]["retry_in"] is not None
    assert "_interfaces" in failures[R2]["reason"] and failures[R2]["retry_in"] is None
    plugin.routers = {R1: a_router(id=R1), R2: a_router(id=R2)}
    agent.routers_updated(None, [R2])
    wait_until(lambda: not status(agent.view, as_client(dataplane))["failures"])


@pytest.mark.feature("sync.failed-list")
def test_a_router_that_cannot_be_fetched_is_listed_as_failed(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.fail_next("sync_routers", RuntimeError("the table is locked"), times=6)
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in status(agent.view, as_client(dataplane))["failures"])
    assert R1 not in agent.router_info
    assert "the table is locked" in status(agent.view, as_client(dataplane))["failures"][R1]["reason"]


def test_a_plan_changes_nothing(agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1)}
    agent.routers_updated(None, [R1])
    wait_until(lambda: ("router", R1) in dataplane.states and agent.router_info[R1].status == "active")
    dataplane.states.clear()
    assert plans(agent.view, as_client(dataplane), None) == {"plans": {R1: [f"make router {R1}"]}, "failed": {}}
    assert plans(agent.view, as_client(dataplane), R1) == {"plans": {R1: [f"make router {R1}"]}, "failed": {}}
    assert not dataplane.states


@pytest.mark.feature("operation.plan")
def test_a_router_that_fails_is_in_the_plan_by_its_error(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1, _interfaces="none")}
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in agent.router_info and agent.router_info[R1].status == "error")
    found = plans(agent.view, as_client(dataplane), None)
    assert found["plans"] == {} and "_interfaces" in found["failed"][R1]
    assert show(agent.view, as_client(dataplane), R1)["plan"] is None


def test_a_refused_router_stays_in_error_and_in_the_plan_while_its_last_good_state_is_kept_up(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    good = a_router(id=R1, _floatingips=[a_floating_ip("203.0.113.100", "10.0.0.5")])
    (fip,) = (one["id"] for one in good["_floatingips"])
    plugin.routers = {R1: good}
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in agent.router_info and agent.router_info[R1].status == "active")
    plugin.routers = {R1: good | {"_interfaces": "nonsense"}}
    agent.routers_updated(None, [R1])
    wait_until(lambda: agent.router_info[R1].status == "error")
    wait_until(lambda: plugin.fip_statuses.get(fip) == "ERROR")
    updates = agent.router_info[R1].updates
    dataplane.states.clear()
    dataplane.restart()
    wait_until(lambda: agent.router_info[R1].updates > updates and ("router", R1) in dataplane.states)
    assert agent.router_info[R1].status == "error" and "nonsense" in str(agent.router_info[R1].error)
    assert plugin.fip_statuses[fip] == "ERROR"
    found = plans(agent.view, as_client(dataplane), None)
    assert found["plans"] == {R1: []} and "nonsense" in found["failed"][R1]
    plugin.routers = {R1: good}
    agent.routers_updated(None, [R1])
    wait_until(lambda: agent.router_info[R1].status == "active" and plugin.fip_statuses[fip] == "ACTIVE")
    assert plans(agent.view, as_client(dataplane), None)["failed"] == {}


@pytest.mark.feature("sync.isolation")
def test_a_refused_router_loses_the_floating_ips_that_it_has_no_more(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    """Their addresses may be another router's by now; none is named, and the server sets DOWN what is on no router."""
    wait_until(lambda: agent.full_sync.in_sync)
    stays, goes, moves = (a_floating_ip(f"203.0.113.{last}", f"10.0.0.{last}") for last in (101, 102, 103))
    plugin.routers = {R1: a_router(id=R1, _floatingips=[stays, goes, moves])}
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in agent.router_info and agent.router_info[R1].status == "active")
    wait_until(lambda: len(plugin.fip_statuses) == 3)
    plugin.fip_statuses.clear()
    moved = moves | {"fixed_ip_address": "10.0.0.104"}
    plugin.routers = {R1: a_router(id=R1, _floatingips=[stays, moved], _interfaces="nonsense")}
    agent.routers_updated(None, [R1])
    wait_until(lambda: agent.router_info[R1].status == "error")

    def kept() -> list[tuple[str, str]]:
        return [(str(pair.floating), str(pair.fixed)) for pair in router_state(dataplane, R1).floating_ips]

    wait_until(lambda: kept() == [("203.0.113.101", "10.0.0.101")])
    wait_until(lambda: plugin.fip_statuses)
    assert plugin.fip_statuses == {stays["id"]: "ERROR", moves["id"]: "ERROR", goes["id"]: "DOWN"}
    assert all(goes["id"] not in call["fip_statuses"] for call in plugin.called("update_floatingip_statuses")[1:])
    # If the list of floating IPs is unreadable, the router remains unchanged.
    plugin.routers = {R1: a_router(id=R1, _floatingips="nonsense", _interfaces="rubbish")}
    updates = len(plugin.called("sync_routers"))
    agent.routers_updated(None, [R1])
    wait_until(lambda: len(plugin.called("sync_routers")) > updates and "rubbish" in str(agent.router_info[R1].error))
    assert len(kept()) == 1
    # Nor does it get them back when it is recalled at the next start.
    remembered = StateCache(os.path.join(agent.conf.state_path, STATE_CACHE_FILE), "node1", interval=1)
    wait_until(lambda: [fip["id"] for one in remembered.load() for fip in one["_floatingips"]] == [stays["id"]])
    plugin.routers = {R1: a_router(id=R1, _floatingips=[stays, moved])}
    agent.routers_updated(None, [R1])
    wait_until(lambda: plugin.fip_statuses == {stays["id"]: "ACTIVE", moves["id"]: "ACTIVE", goes["id"]: "DOWN"})


def test_the_topology_is_what_is_wanted_of_each_router(
    agent: OpenAgent, plugin: FakePlugin, dataplane: FakeDataplane
) -> None:
    wait_until(lambda: agent.full_sync.in_sync)
    plugin.routers = {R1: a_router(id=R1, _floatingips=[a_floating_ip("203.0.113.100", "10.0.0.5")])}
    agent.routers_updated(None, [R1])
    wait_until(lambda: R1 in agent.router_info and agent.router_info[R1].status == "active")
    found = json.loads(json.dumps(topology(agent.view, [], {})))
    (router,) = found["routers"]
    assert [port["gateway"] for port in router["ports"]] == [True, False]
    assert router["ports"][1]["addresses"] == ["10.0.0.1/24"]
    assert router["floating_ips"] == [["203.0.113.100", "10.0.0.5"]]


@pytest.mark.parametrize("op", ["plan", "show", "traffic", "resync", "pause", "resume", "replay"])
@pytest.mark.parametrize("router", [["a"], {"a": 1}, 7, True])
def test_an_id_that_is_no_text_is_an_error_without_a_traceback(
    agent: OpenAgent, dataplane: FakeDataplane, op: str, router: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(L3AgentError, match="names no router"):
        build_operations(agent.view, agent.actions, as_client(dataplane))[op]({"op": op, "router": router})
    assert not caplog.records
