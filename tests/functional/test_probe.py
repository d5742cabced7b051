# SPDX-License-Identifier: Apache-2.0
"""Probes of the demo: lost packets, unreachable addresses and closed connections are reported."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = pytest.mark.kernel

#: Program that connects two namespaces by a veth pair and runs the experiment. A process without greenthreads.
_SETUP = """
import json, subprocess, sys, time
from l3agent.demo import probe, sandbox
def sh(text): subprocess.run(text, shell=True, check=True)
def experiment():
{experiment}
def body(enter_command):
    sh("ip netns add a; ip netns add b; ip link add v0 netns a type veth peer name v1 netns b")
    for space, device, host in ("a", "v0", 1), ("b", "v1", 2):
        sh(f"ip -n {{space}} address add 10.0.0.{{host}}/24 dev {{device}}; ip -n {{space}} link set {{device}} up")
        sh(f"ip -n {{space}} address add fd00::{{host}}/64 dev {{device}} nodad")
    print(json.dumps(experiment()))
    return 0
sys.exit(sandbox.run(body))
"""


def test_a_ping_counts_each_lost_packet_and_the_gap() -> None:
    result = _experiment(
        """
    drop = "add table ip t; add chain ip t c { type filter hook input priority 0; policy drop; }"
    for _ in range(10):  # on a loaded machine the probe may send nothing while packets are dropped
        with probe.Probe("/run/netns/a", probe.ping, "10.0.0.2") as ping:
            time.sleep(0.3)
            sh(f"ip netns exec b nft '{drop}'")
            time.sleep(0.2)
            sh("ip netns exec b nft delete table ip t")
            time.sleep(0.3)
            found = ping.finish()
        if len(found["lost"]) >= 10 and found["received"] >= 20:
            break
    return found"""
    )
    assert result["sent"] == result["received"] + len(result["lost"])
    assert len(result["lost"]) >= 10 and result["received"] >= 20
    assert result["lost"] == list(range(result["lost"][0], result["lost"][-1] + 1))
    assert result["gap"] >= 0.2


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
def test_a_ping_to_a_reachable_address_loses_nothing(address: str) -> None:
    result = _experiment(f'    return probe.run("/run/netns/a", 10, probe.ping, "{address}", 0.01, 20)')
    assert (result["sent"], result["received"], result["lost"]) == (20, 20, [])


@pytest.mark.parametrize("address", ["10.0.0.3", "192.0.2.1"])  # no neighbour; no route
def test_a_ping_to_an_unreachable_address_loses_everything(address: str) -> None:
    result = _experiment(f'    return probe.run("/run/netns/a", 10, probe.ping, "{address}", 0.01, 5, 0.2)')
    assert (result["received"], result["lost"]) == (0, [0, 1, 2, 3, 4])


def test_a_server_greets_with_its_name_and_the_source_address() -> None:
    result = _experiment(
        """
    with probe.Probe("/run/netns/b", probe.serve, "b", 7007) as server:
        server.read(5)
        connections = ("10.0.0.2", 7007), ("fd00::2", 7007), ("10.0.0.2", 7008)
        return [probe.run("/run/netns/a", 5, probe.connect, *connection) for connection in connections]"""
    )
    assert result == [{"server": "b", "peer": "10.0.0.1"}, {"server": "b", "peer": "fd00::1"}, None]


def test_a_closed_connection_is_an_error() -> None:
    result = _experiment(
        """
    with probe.Probe("/run/netns/b", probe.serve, "b", 7007) as server:
        server.read(5)
        client = probe.Probe("/run/netns/a", probe.exchange_lines, "10.0.0.2", 7007)
        time.sleep(0.2)
        server.finish()
    time.sleep(0.2)
    try:
        return client.finish()
    except probe.ProbeError as exc:
        return str(exc)
    finally:
        client.close()"""
    )
    assert isinstance(result, str) and result


def _experiment(code: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", _SETUP.format(experiment=code)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
