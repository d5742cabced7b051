# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl cleanup`` removes all objects of l3agent and no others, and refuses beside a running agent."""

from __future__ import annotations

import subprocess
import sys
import uuid
from ipaddress import ip_interface
from pathlib import Path

import pytest

from l3agent.model.names import device_name
from l3agent.model.states import Kind, NamespaceState, Port
from tests.support.ovs_node import a_node, a_router
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox
from tests.support.states import namespace

pytestmark = pytest.mark.kernel

# A router of neutron-l3-agent differs from a router of l3agent by its table only.
_OF_ANOTHER_AGENT = f"qrouter-{uuid.UUID(int=7)}"
_CLEANUP = [sys.executable, "-m", "l3agent.cli.main", "cleanup"]


@pytest.fixture
def trial(sandbox: Sandbox, folder: Path) -> Dataplane:
    """Create two routers and a host, and a namespace and a bridge of another program."""
    dataplane = Dataplane(sandbox, folder)
    dataplane.start()
    states = [_router(1), _router(2), NamespaceState("host", "vm1", frozenset({_port(3, "eth0")}))]
    kinds: tuple[Kind, ...] = ("router", "router", "host")
    reports = dataplane.reconcile(*(((kind, state.id), state) for kind, state in zip(kinds, states, strict=True)))
    assert [report.error for report in reports] == [None] * 3
    sandbox.run(["ip", "netns", "add", "foreign"])
    sandbox.run(["ip", "netns", "add", _OF_ANOTHER_AGENT])
    sandbox.run(["ip", "link", "add", "brforeign", "type", "bridge"])
    return dataplane


def test_cleanup_removes_all_of_ours_and_nothing_else(trial: Dataplane) -> None:
    trial.stop()
    sandbox = trial.sandbox
    before = sandbox.namespaces()
    done = _cleanup(sandbox, "--dry-run")
    assert (done.returncode, sandbox.namespaces()) == (0, before)
    assert done.stdout.count("would remove router") == 2 and done.stdout.count("would remove host") == 1
    done = _cleanup(sandbox)
    assert done.returncode == 0, done.stderr
    assert sandbox.namespaces() == {"foreign", _OF_ANOTHER_AGENT}
    assert {link["ifname"] for link in sandbox.json("ip -j link")} == {"lo", "brforeign"}
    done = _cleanup(sandbox)
    assert (done.returncode, done.stdout) == (0, "no objects of l3agent on this machine\n")


@pytest.mark.openvswitch
def test_cleanup_removes_ports_of_open_vswitch_too() -> None:
    with a_node() as node:
        state, _, _ = a_router()
        node.build(state)
        node.ovs.vsctl("add-port", "br-int", "foreign", "--", "set", "Interface", "foreign", "type=internal")
        # Left over from a router whose namespace another program removed.
        other, _, _ = a_router()
        node.build(other)
        node.dataplane.stop()
        node.sandbox.run(["ip", "netns", "delete", namespace(other)])
        done = _cleanup(node.sandbox, "--config-file", str(node.dataplane.conf))
        assert done.returncode == 0, done.stderr
        assert node.ovs.ports() == {"foreign"}
        assert node.sandbox.namespaces() == set()


def test_cleanup_refuses_while_a_data_plane_is_at_work(trial: Dataplane, folder: Path) -> None:
    before = trial.sandbox.namespaces()
    config = folder / "dataplane.conf"
    done = _cleanup(trial.sandbox, "--config-file", str(config))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "is running" in done.stderr
    done = _cleanup(trial.sandbox)  # one whose socket is elsewhere is met at the lock of the folder
    assert done.returncode == 75
    assert len(done.stderr.splitlines()) == 1 and "another data plane serves /run/netns" in done.stderr
    assert trial.sandbox.namespaces() == before


def test_cleanup_without_root_is_refused() -> None:
    code = "import os; from l3agent.cli import main; os.geteuid() or os.seteuid(65534); exit(main.main(['cleanup']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 77
    assert len(done.stderr.splitlines()) == 1 and "only root may remove" in done.stderr


def _router(number: int) -> NamespaceState:
    ports = frozenset((_port(number, device_name("qr-", f"{number}" * 36)),))
    return NamespaceState("router", str(uuid.UUID(int=number)), ports)


def _port(number: int, device: str) -> Port:
    address = ip_interface(f"10.0.0.{number}/24")
    return Port(f"{number}" * 36, "c" * 36, device, f"fa:16:3e:00:00:0{number}", 1500, frozenset((address,)))


def _cleanup(sandbox: Sandbox, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(sandbox.argv([*_CLEANUP, *options]), capture_output=True, text=True, timeout=60, check=False)
