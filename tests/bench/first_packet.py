# SPDX-License-Identifier: Apache-2.0
"""The first packet of a new flow through address translation, with few floating IPs and with many.

A client on the external network sends one datagram from each of many source ports to a floating IP; the frames run
through both veth pairs and the router in the system call that sends them, so its thread's CPU time is their cost. The
numbers of floating IPs take turns.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import time
from statistics import median
from typing import Any

from l3agent.dataplane.kernel.netns import enter, own_namespace
from l3agent.model.names import BRIDGE_DEVICE, device_name
from l3agent.model.states import NamespaceState
from tests.bench.canonical import router
from tests.bench.ours import DataplaneProcess

_PORT = 5001
_PAYLOAD = b"x" * 64


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000], help="floating IPs of a router")
    parser.add_argument("--flows", type=int, default=2000, help="new flows a turn (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each size (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return microseconds a new flow by the number of floating IPs."""
    ours = DataplaneProcess()
    routers = [router(0, number, size) for number, size in enumerate(options.sizes)]
    ours.start(routers)
    for one in routers:
        ours.build(one)
    home = own_namespace()
    figures: dict[int, list[tuple[float, float]]] = {size: [] for size in options.sizes}
    clients = [_client(number, one) for number, one in enumerate(routers)]
    for _ in range(options.rounds + 1):
        for size, one, client in zip(options.sizes, routers, clients, strict=True):
            figures[size].append(_flows(home, client, one, options.flows))
    report: dict[str, Any] = {}
    for size, found in figures.items():
        # The first turn resolves addresses.
        walls, cpus = zip(*found[1:], strict=True)
        report[str(size)] = {
            "CPU us": _us(median(cpus)), "CPU us min": _us(min(cpus)), "wall us": _us(median(walls)),
        }  # fmt: skip
        print(
            f"{size:5} floating IPs: " + "  ".join(f"{name} {value:7.2f}" for name, value in report[str(size)].items())
        )
    least, most = (report[str(size)] for size in (min(options.sizes), max(options.sizes)))
    report["most / least"] = {name: round(most[name] / least[name], 3) for name in least}
    print(f"most to least: {report['most / least']}")
    return report


def _client(number: int, one: NamespaceState) -> int:
    """Make a namespace on the external network of a router, and one that answers for the last fixed address."""
    assert one.gateway is not None
    (internal,) = one.ports
    last = max(one.floating_ips, key=lambda fip: fip.fixed)
    for name, network, address in (
        (f"cl{number}", one.gateway.network_id, "100.127.255.254/10"),
        (f"sv{number}", internal.network_id, f"{last.fixed}/16"),
    ):
        bridge = device_name(BRIDGE_DEVICE, network)
        for command in (
            f"ip netns add {name}",
            f"ip link add {name} type veth peer name eth0 netns {name}",
            f"ip link set {name} master {bridge} up",
            f"ip -n {name} address add {address} dev eth0",
            f"ip -n {name} link set eth0 up",
            f"ip -n {name} link set lo up",
            f"ip netns exec {name} sysctl -qw net.ipv4.icmp_ratelimit=1000000 net.ipv4.ip_local_port_range=1024\t65000",
        ):
            subprocess.run(command.split(" "), check=True)
    inner = next(one.ip for one in internal.addresses if one.version == 4)
    subprocess.run(["ip", "-n", f"sv{number}", "route", "add", "default", "via", str(inner)], check=True)
    with open(f"/run/netns/cl{number}") as pin:
        return os.dup(pin.fileno())


def _flows(home: int, client: int, one: NamespaceState, count: int) -> tuple[float, float]:
    """Send the first packets of new flows; return wall and CPU seconds a flow."""
    last = max(one.floating_ips, key=lambda fip: fip.fixed)
    with enter(home, client):
        senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for sender in senders:
        sender.connect((str(last.floating), _PORT))
    wall, cpu = time.perf_counter(), time.thread_time()
    for sender in senders:
        try:
            sender.send(_PAYLOAD)
        except ConnectionRefusedError:
            # Nobody listens behind the router; the refusal of an earlier datagram is told here.
            sender.send(_PAYLOAD)
    taken = (time.perf_counter() - wall) / count, (time.thread_time() - cpu) / count
    for sender in senders:
        sender.close()
    return taken


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 2)
