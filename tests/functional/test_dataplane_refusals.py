# SPDX-License-Identifier: Apache-2.0
"""Refusals of the data plane: invalid states, requests and clients, and starts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

import msgpack
import pytest

from l3agent.model.states import NamespaceState, NetworkState, Port
from l3agent.model.wire import pack_state
from l3agent.testing import wait_until
from tests.support.kernel import observed
from tests.support.processes import SCRIPTS, Dataplane
from tests.support.sandbox import NOBODY, Sandbox
from tests.support.states import bridge, host, key, namespace, new_id, port, route, router, tap


class Client:
    """A plain client that shows errors too."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self._frames = msgpack.Unpacker(raw=False)

    def request(self, request: Any) -> Any:
        self.socket.sendall(msgpack.packb(request))
        return self.read()

    def read(self) -> Any:
        while True:
            for frame in self._frames:
                return frame
            if not (data := self.socket.recv(1 << 16)):
                raise EOFError
            self._frames.feed(data)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.socket.close()


# ---- states the kernel refuses ------------------------------------------------------------------------------------


def small() -> tuple[NamespaceState, Port]:
    inner = port(new_id(), "10.0.0.1/24")
    return router(inner), inner


def one_with(inner: Port, state: NamespaceState, **changes: Any) -> NamespaceState:
    return replace(state, ports=frozenset({replace(inner, **changes)}))


def refusals() -> dict[str, tuple[NamespaceState, str, str]]:
    """Return states that no kernel can bring about, the line that names the step, and the reason in its words."""
    state, inner = small()
    ns = namespace(state)
    unreachable = route("172.30.0.0/24", (inner, "192.0.2.1"))
    elsewhere = port(new_id(), "2001:db8:77::2/64")
    unreachable6 = route("2001:db8:30::/48", (inner, "2001:db8:77::1"))
    v6 = port(inner.network_id, "2001:db8:1::1/64")
    return {
        "a next hop that cannot be reached": (
            replace(state, routes=frozenset({unreachable})),
            f"ip -n {ns} route replace 172.30.0.0/24 protocol 201 via 192.0.2.1 dev {inner.device}",
            "Nexthop has invalid gateway",
        ),
        "an IPv6 next hop behind another device": (
            replace(state, ports=state.ports | {elsewhere}, routes=frozenset({unreachable6})),
            f"ip -6 -n {ns} route replace 2001:db8:30::/48 protocol 201 via 2001:db8:77::1 dev {inner.device} onlink",
            "Nexthop has invalid gateway or device mismatch",
        ),
        "IPv6 below its MTU": (
            one_with(inner, state, mtu=1200, addresses=inner.addresses | v6.addresses),
            f"ip -n {ns} address add 2001:db8:1::1/64 nodad dev {inner.device}",
            "",
        ),
    }


@pytest.mark.parametrize("name", refusals())
def test_a_refusal_has_the_operation_and_the_message_of_the_kernel_and_other_states_are_applied(
    machine: Dataplane, name: str
) -> None:
    refused, line, reason = refusals()[name]
    before, _ = small()
    after, _ = small()
    reports = machine.reconcile(*((key(state), state) for state in (before, refused, after)))
    assert [report.error is None for report in reports] == [True, False, True]
    error = str(reports[1].error)
    assert line in error
    assert error.endswith(reason) or reason in error.removeprefix(line)
    assert observed(machine.sandbox, namespace(after)).addresses
    # The same again is the same refusal, and removal is none.
    (again,) = machine.reconcile((key(refused), refused))
    assert again.error is not None and line in again.error
    gone = machine.reconcile(*((key(state), None) for state in (before, refused, after)))
    assert [report.error for report in gone] == [None] * 3


def test_a_refused_state_leaves_nothing_behind_when_it_goes(machine: Dataplane) -> None:
    state, inner = small()
    refused = one_with(inner, state, mtu=1200, addresses=inner.addresses | {ip_interface("2001:db8:1::1/64")})
    assert machine.reconcile((key(refused), refused))[0].error is not None
    assert machine.reconcile((key(refused), None))[0].error is None
    assert namespace(refused) not in machine.sandbox.namespaces()
    names = {bridge(inner.network_id), tap(inner)}
    wait_until(lambda: not names & {link["ifname"] for link in machine.sandbox.json("ip -j link")}, timeout=10)


def test_what_was_right_beside_a_refused_route_is_in_place(machine: Dataplane) -> None:
    state, inner = small()
    routes = {route("172.30.0.0/24", (inner, "192.0.2.1")), route("172.31.0.0/24", (inner, "10.0.0.7"))}
    (report,) = machine.reconcile((key(state), replace(state, routes=frozenset(routes))))
    assert report.error is not None and "172.31.0.0" not in report.error
    found = {to for to, by, _ in observed(machine.sandbox, namespace(state)).routes if by == "agent"}
    assert found == {"172.31.0.0/24"}
    assert machine.reconcile((key(state), state))[0].error is None


# ---- states that it takes from no client ---------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["device", "mtu", "mac", "id", "network_id", "addresses"])
def test_an_invalid_state_is_refused_and_the_others_are_applied(machine: Dataplane, field: str) -> None:
    before, _ = small()
    after, _ = small()
    wrong: dict[str, Any] = {"device": "mgmt0", "mtu": 70000, "mac": "01:00:5e:00:00:01", "id": new_id()}
    wrong |= {"network_id": "../..", "addresses": frozenset({ip_interface("127.0.0.1/8")})}
    refused, other = small()
    refused = one_with(other, refused, **{field: wrong[field]})
    links = {link["ifname"] for link in machine.sandbox.json("ip -j link")}
    reports = machine.reconcile(*((key(state), state) for state in (before, refused, after)))
    assert [report.error is None for report in reports] == [True, False, True]
    assert str(reports[1].error).startswith("refused by l3-dataplane: port ")
    assert (reports[1].kind, reports[1].id, reports[1].count) == ("router", refused.id, 0)
    assert namespace(refused) not in machine.sandbox.namespaces()
    made = {link["ifname"] for link in machine.sandbox.json("ip -j link")} - links
    assert not made & {bridge(other.network_id), tap(other)}
    machine.reconcile(*((key(state), None) for state in (before, refused, after)))


def test_a_router_that_stands_stays_as_it_is_when_its_change_is_refused(machine: Dataplane) -> None:
    state, inner = small()
    machine.reconcile((key(state), state))
    before = observed(machine.sandbox, namespace(state))
    changed = one_with(inner, state, mtu=70000)
    assert machine.reconcile((key(changed), changed))[0].error is not None
    assert observed(machine.sandbox, namespace(state)) == before
    (again,) = machine.reconcile((key(state), state))
    assert (again.error, again.operations) == (None, ())
    machine.reconcile((key(state), None))


@pytest.mark.feature("dataplane.privilege")
def test_without_a_topology_file_no_card_of_the_machine_is_taken_and_no_host_made(
    sandbox: Sandbox, folder: Path
) -> None:
    dataplane = Dataplane(sandbox, folder, {"standalone": {}})
    dataplane.start()
    sandbox.run(["ip", "link", "add", "mgmt0", "type", "veth", "peer", "name", "outside0"])
    network, machine, sound = NetworkState(new_id(), "mgmt0"), host(new_id(), "10.0.0.5/24"), small()[0]
    wanted = [(("network", network.id), network), (key(machine), machine), (key(sound), sound)]
    reports = dataplane.reconcile(*wanted)
    assert [report.error for report in reports[2:]] == [None]
    assert all("topology" in str(report.error) for report in reports[:2])
    (link,) = sandbox.json("ip -j link show dev mgmt0")
    assert "master" not in link
    assert sandbox.namespaces() == {namespace(sound)}
    # What a former configuration left may go.
    assert [report.error for report in dataplane.reconcile(*((one, None) for one, _ in wanted))] == [None] * 3
    dataplane.hang_up()


# ---- requests that are not right ----------------------------------------------------------------------------------

_STATE = pack_state(("router", new_id()), None)
PORT_ID = new_id()
PORT = [PORT_ID, new_id(), f"qr-{PORT_ID[:11]}", "fa:16:3e:00:00:01", 1500, [[bytes((10, 0, 0, 1)), 24]]]
BODY = {"ports": [PORT], "gateway": None, "routes": [], "floating_ips": b"", "nat_address": None, "snat": False}


REQUESTS: list[Any] = [
    "hello",
    7,
    None,
    [],
    [1],
    [1, "hello"],
    [1, "hello", {}, "more"],
    {"id": 1, "op": "hello"},
    [1, "reboot", {}],
    [1, 7, {}],
    [1, ["hello"], {}],
    [1, None, None],
    [1, "reconcile", {}],
    [1, "reconcile", None],
    [1, "reconcile", []],
    [1, "reconcile", "states"],
    [1, "reconcile", {"states": 7}],
    [1, "reconcile", {"states": None}],
    [1, "reconcile", {"states": [None]}],
    [1, "reconcile", {"states": ["router"]}],
    [1, "reconcile", {"states": [{}]}],
    [1, "reconcile", {"states": [_STATE | {"kind": "planet"}]}],
    [1, "reconcile", {"states": [_STATE | {"kind": ["router"]}]}],
    [1, "reconcile", {"states": [_STATE | {"state": 7}]}],
    [1, "reconcile", {"states": [_STATE | {"state": {}}]}],
    [1, "reconcile", {"states": [_STATE | {"state": {"ports": 7, "gateway": None, "nat_address": None}}]}],
    [1, "reconcile", {"states": [_STATE | {"id": "../../../tmp/evil"}]}],
    [1, "reconcile", {"states": [_STATE | {"id": "a/b"}]}],
    [1, "reconcile", {"states": [_STATE | {"id": "nul\0nul"}]}],
    [1, "reconcile", {"states": [_STATE | {"id": ""}]}],
    [1, "reconcile", {"states": [_STATE | {"id": "x" * 300}]}],
    [1, "reconcile", {"states": [], "lines": float("inf")}],
    [1, "inventory", []],
    [1, "inventory", 7],
    [1, "stats", None],
    [
        1,
        "inspect",
        {"state": {"kind": "router", "id": new_id(), "state": BODY | {"ports": [[*PORT[:3], 7, *PORT[4:]]]}}},
    ],
    [1, "inspect", {"state": []}],
    [1, "traffic", []],
    [1, "unmanage", {"keys": 7}],
    [1, "unmanage", {"keys": [["router"]]}],
    [{"no": "number"}, "hello", []],
]


@pytest.mark.parametrize("request_", REQUESTS, ids=repr)
def test_a_request_that_is_not_right_gets_an_error_and_the_next_is_answered(machine: Dataplane, request_: Any) -> None:
    machine.hang_up()
    with Client(machine.socket_path) as client:
        number, error, result = client.request(request_)
        assert number == (1 if isinstance(request_, list) and request_[:1] == [1] else 0)
        assert result is None
        assert error["type"] and error["message"]
        number, error, result = client.request([2, "hello", {}])
        assert (number, error) == (2, None)
    assert machine.status is None


def test_a_name_that_is_not_utf_8_in_the_folder_of_namespaces_is_none_of_ours(machine: Dataplane) -> None:
    state, _ = small()
    machine.reconcile((key(state), state))
    odd = "/run/netns/$(printf 'qrouter-\\377')"
    machine.sandbox.run(["sh", "-c", f"touch {odd}"])
    try:
        for marked in (False, True):
            assert state.id in machine.request("inventory", {"marked": marked})["router"]
    finally:
        machine.sandbox.run(["sh", "-c", f"rm {odd}"])
        machine.reconcile((key(state), None))


@pytest.mark.parametrize(
    ("place", "value"),
    [(3, 7), (3, "zz"), (3, "fa:16"), (3, ""), (4, "1500"), (4, -1), (4, 2**40), (4, 1.5), (2, 7), (2, ""), (2, "a/b"),
     (2, "nul\0"), (2, "lo"), (1, 7), (0, None)],
)  # fmt: skip
def test_a_port_with_a_wrong_value_is_an_error_of_that_router_or_request(
    machine: Dataplane, place: int, value: Any
) -> None:
    machine.hang_up()
    wrong = [*PORT[:place], value, *PORT[place + 1 :]]
    router_id = new_id()
    wire = {"kind": "router", "id": router_id, "state": BODY | {"ports": [wrong]}}
    sound, _ = small()
    with Client(machine.socket_path) as client:
        _, error, result = client.request([1, "reconcile", {"states": [wire, pack_state(key(sound), sound)]}])
        assert error is not None or (result[0]["error"] and result[1]["error"] is None)
        assert client.request([2, "hello", {}])[:2] == [2, None]
    machine.reconcile((("router", router_id), None), (key(sound), None))
    assert "UP" in machine.sandbox.json("ip -j link show dev lo")[0]["flags"]


def test_the_port_of_these_requests_is_right_without_the_wrong_value(machine: Dataplane) -> None:
    wire = {"kind": "router", "id": new_id(), "state": BODY}
    assert machine.request("reconcile", {"states": [wire]})[0]["error"] is None
    machine.request("reconcile", {"states": [wire | {"state": None}]})


# ---- clients ------------------------------------------------------------------------------------------------------


def test_a_new_client_is_accepted_at_once_after_the_first_was_killed(machine: Dataplane) -> None:
    machine.hang_up()
    for _ in range(20):
        with Client(machine.socket_path) as client:
            assert client.request([1, "hello", {}])[1] is None
            # A request that is not read yet does not keep a dead client alive.
            client.socket.sendall(msgpack.packb([2, "inventory", {}]) * 20)
            holder = subprocess.Popen(["sleep", "60"], pass_fds=[client.socket.fileno()])
        holder.kill()
        holder.wait()
        with Client(machine.socket_path) as successor:
            assert successor.request([1, "hello", {}])[:2] == [1, None]


def as_nobody(machine_or_sandbox: Dataplane | Sandbox, *command: str) -> subprocess.CompletedProcess[str]:
    sandbox = machine_or_sandbox if isinstance(machine_or_sandbox, Sandbox) else machine_or_sandbox.sandbox
    argv = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
    return subprocess.run(sandbox.argv(argv), capture_output=True, text=True, timeout=20, check=False)


_CONNECT = """
import socket, sys
client = socket.socket(socket.AF_UNIX)
client.settimeout(10)
client.connect(sys.argv[1])
print(client.recv(4096))
print(client.recv(4096))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user id")
def test_another_user_cannot_connect_and_is_refused_even_when_the_mode_lets_him(machine: Dataplane) -> None:
    path = machine.socket_path
    command = ["/usr/bin/python3", "-c", _CONNECT, str(path)]
    path.parent.chmod(0o755)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "PermissionError" in as_nobody(machine, *command).stderr
    path.chmod(0o666)
    refused = as_nobody(machine, *command)
    path.chmod(0o600)
    first, second = refused.stdout.splitlines()
    assert "PermissionMissing" in first and str(NOBODY) in first
    assert second == "b''"
    assert machine.request("hello", {})["version"]


# ---- starts -------------------------------------------------------------------------------------------------------


def started(sandbox: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = sandbox.argv([str(SCRIPTS / "l3-dataplane"), *arguments])
    return subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("[DEFAULT]\ninterface_driver = carrier-pigeon\n", ["interface_driver", "carrier-pigeon", "bridge"]),
        ("[dataplane]\nannounce_interval = soon\n", ["announce_interval", "soon"]),
        ("[dataplane]\nsocket = /proc/nowhere/dp.sock\n", ["socket", "/proc/nowhere/dp.sock"]),
        (f"[dataplane]\nsocket = /tmp/{'x' * 120}\n", ["socket", "too long"]),
        ("[dataplane]\nnetns_path = /proc/nowhere\n", ["netns_path", "/proc/nowhere"]),
        ("no option at all\n", []),
    ],
)
def test_a_wrong_configuration_is_one_line_and_status_78(
    machine: Dataplane, folder: Path, options: str, words: list[str]
) -> None:
    conf = folder / "wrong.conf"
    # Another namespace folder, for the one of this sandbox is taken.
    conf.write_text(
        options
        if "netns_path" in options
        else f"{options}\n[dataplane]\nnetns_path = {folder}/netns\nallow_private_netns_path = true\n"
    )
    done = started(machine.sandbox, "--config-file", str(conf))
    assert done.returncode == 78, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("l3-dataplane: ")
    assert [word for word in words if word not in line] == []


def test_a_missing_configuration_file_is_one_line_and_status_78(machine: Dataplane) -> None:
    done = started(machine.sandbox, "--config-file", "/nowhere/l3.conf")
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert "/nowhere/l3.conf" in line


_RUN_AS_NOBODY = f"""
import os, sys
from l3agent.cmd.dataplane import main
os.setgid({NOBODY})
os.setuid({NOBODY})
sys.exit(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user id")
def test_without_root_it_is_one_line_and_status_77(machine: Dataplane, folder: Path) -> None:
    folder.chmod(0o777)
    conf = folder / "l3.conf"
    conf.write_text(
        f"[dataplane]\nsocket = {folder}/other.sock\nnetns_path = {folder}/netns\nallow_private_netns_path = true\n"
    )
    # Loaded as root, then run unprivileged: the folder of the environment may be closed to others (as by tox).
    argv = machine.sandbox.argv([sys.executable, "-c", _RUN_AS_NOBODY, "--config-file", str(conf)])
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 77
    (line,) = done.stderr.splitlines()
    assert "root" in line


def connected(path: Path) -> Client | None:
    """Return a client; None while no process listens, though the socket may have its name already."""
    try:
        return Client(path)
    except OSError:
        return None


@pytest.mark.parametrize("how", ["hangs up", "is killed"])
def test_with_exit_with_client_it_goes_when_its_client_does(machine: Dataplane, folder: Path, how: str) -> None:
    conf = folder / "l3.conf"
    path = folder / "own.sock"
    conf.write_text(f"[dataplane]\nsocket = {path}\nnetns_path = {folder}/netns\nallow_private_netns_path = true\n")
    argv = [str(SCRIPTS / "l3-dataplane"), "--config-file", str(conf), "--exit-with-client"]
    process = machine.sandbox.popen(argv, stderr=subprocess.DEVNULL)
    with wait_until(lambda: connected(path), timeout=60) as client:
        assert client.request([1, "hello", {}])[1] is None
        client.socket.sendall(msgpack.packb([2, "inventory", {}]) * 20)
        holder = subprocess.Popen(["sleep", "60"], pass_fds=[client.socket.fileno()])
    holder.send_signal(signal.SIGKILL if how == "is killed" else signal.SIGTERM)
    holder.wait()
    assert process.wait(10) == 0
