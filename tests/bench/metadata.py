# SPDX-License-Identifier: Apache-2.0
"""CPU and memory of l3-metadata with its haproxy, beside one haproxy per router as Neutron has it."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from l3agent.dataplane.kernel.netns import enter, own_namespace
from l3agent.model.haproxy import MetadataProxy, RateLimit, haproxy_configuration
from l3agent.model.metadata_messages import MAX_PACKET, AddRouter, Configure, Request, decode_answer, encode_request

_ADDRESS, _PORT = "169.254.169.254", 9697
#: Routers from which requests come; the others only have a socket.
_ACTIVE = 20
#: Requests that one turn sends, and those under way at a time.
_TURN, _PARALLEL = 500, 8
_REQUEST = (
    f"GET /latest/meta-data/instance-id HTTP/1.1\r\nHost: {_ADDRESS}\r\nUser-Agent: bench\r\nConnection: close\r\n\r\n"
).encode()
_RULES = f"""
table ip metadata {{
    chain output {{ type nat hook output priority -100; ip daddr {_ADDRESS} tcp dport 80 redirect to :{_PORT}; }}
}}
"""
#: Neutron 29: one of these per router.
_PER_ROUTER = """
global
    log {log} local0 info
    log-tag haproxy-metadata-proxy-{router}
    maxconn 1024
    nbthread 2
defaults
    log global
    mode http
    option httplog
    option dontlognull
    option http-server-close
    option forwardfor
    retries 3
    timeout http-request 30s
    timeout connect 30s
    timeout client 32s
    timeout server 32s
    timeout http-keep-alive 30s
listen listener
    bind :::9697 v4v6
    server metadata {agent}
    http-request del-header X-Neutron-Network-ID
    http-request set-header X-Neutron-Router-ID {router}
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--routers", type=int, default=1000, help="listening sockets (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=10_000, help="requests of each way (default: %(default)s)")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run; return megabytes (10^6 bytes) and microseconds."""
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir="/run"))
    routers = [f"m{number}" for number in range(max(options.routers, _ACTIVE))]
    _batch(f"netns add {router}" for router in routers)
    for router in routers[:_ACTIVE]:
        _batch(["link set lo up", f"addr add {_ADDRESS}/32 dev lo", "addr add 10.0.0.9/32 dev lo"], router)
        subprocess.run(["ip", "netns", "exec", router, "nft", "-f", "-"], input=_RULES, text=True, check=True)
    agent = str(folder / "agent.sock")
    children = [_start_agent(agent), _start_log(str(folder / "log"))]
    try:
        started = time.perf_counter()
        ours, first = _start_ours(folder, agent, routers)
        children += ours.values()
        alone = {f"haproxy of {router}": _start_per_router(folder, agent, router) for router in routers[:_ACTIVE]}
        children += alone.values()
        report = _measured(options, routers[:_ACTIVE], ours, alone)
        report |= {"routers": len(routers), "first request after adding all, ms": first}
        report["seconds in all"] = round(time.perf_counter() - started, 1)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
    for name, value in report.items():
        print(f"{name}: {value}")
    return report


def _measured(
    options: argparse.Namespace, active: list[str], ours: dict[str, int], alone: dict[str, int]
) -> dict[str, Any]:
    """Send requests alternately; the one way listens on the redirected port, the other one beside it."""
    report: dict[str, Any] = {"PSS before, MB": {name: _pss(pid) for name, pid in ours.items()}}
    costs: dict[str, list[float]] = {"l3-metadata and haproxy": [], "one haproxy": []}
    parts: dict[str, float] = dict.fromkeys(ours, 0.0)
    sent = 0
    while sent < options.requests:
        router = active[sent // _TURN % len(active)]
        before = {name: _cpu(pid) for name, pid in ours.items()}
        _send(router, _TURN, 80)
        for name, pid in ours.items():
            parts[name] += _cpu(pid) - before[name]
        costs["l3-metadata and haproxy"].append(sum(_cpu(pid) - before[name] for name, pid in ours.items()) / _TURN)
        single = alone[f"haproxy of {router}"]
        used = _cpu(single)
        _send(router, _TURN, _PORT + 1)
        costs["one haproxy"].append((_cpu(single) - used) / _TURN)
        sent += _TURN
    medians = {name: statistics.median(values) for name, values in costs.items()}
    report["CPU per request, us"] = {name: round(value * 1e6, 1) for name, value in medians.items()}
    report["of it"] = {name: round(value / sent * 1e6, 1) for name, value in parts.items()}
    report["ratio"] = round(medians["l3-metadata and haproxy"] / medians["one haproxy"], 2)
    report["PSS after, MB"] = {name: _pss(pid) for name, pid in ours.items()}
    report["PSS together, MB"] = round(sum(_pss(pid) for pid in ours.values()), 1)
    report["PSS per haproxy per router, MB"] = round(statistics.mean(_pss(pid) for pid in alone.values()), 2)
    report["requests"] = sent
    return report


# ---- the two ways ----------------------------------------------------------------------------------------------------


def _start_ours(folder: Path, agent: str, routers: list[str]) -> tuple[dict[str, int], float]:
    """Start haproxy and l3-metadata for all routers; return the pids, and milliseconds of the first request."""
    front = str(folder / "haproxy.sock")
    unlimited = RateLimit(base_requests=1_000_000, burst_requests=1_000_000)
    conf = folder / "haproxy.conf"
    conf.write_text(haproxy_configuration(MetadataProxy(front, agent, log=str(folder / "log"), rate_limit=unlimited)))
    haproxy = subprocess.Popen(["haproxy", "-db", "-f", str(conf)])
    _wait(lambda: os.path.exists(front))
    control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = "import sys; from l3agent.cmd.metadata import main; sys.exit(main())"
    argv = [sys.executable, "-c", code, "--control-fd", str(other.fileno())]
    with other:
        acceptor = subprocess.Popen(argv, pass_fds=[other.fileno()])
    _request(control, Configure(front))
    for number, router in enumerate(routers):
        with _listener(router) as listener:
            _request(control, AddRouter(f"aaaaaaaa-0000-4000-8000-{number:012d}"), listener.fileno())
    # Kept open to the end: the acceptor ends with it.
    control.detach()
    started = time.perf_counter()
    _send(routers[0], 1, 80)
    first = time.perf_counter() - started
    return {"l3-metadata": acceptor.pid, "haproxy": haproxy.pid}, round(first * 1000, 2)


def _request(control: socket.socket, request: Request, *descriptors: int) -> None:
    socket.send_fds(control, [encode_request(1, request)], descriptors)
    assert decode_answer(control.recv(MAX_PACKET)).error is None


def _listener(router: str) -> socket.socket:
    with _inside(router):
        listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", _PORT))
    listener.listen(1024)
    return listener


def _start_per_router(folder: Path, agent: str, router: str) -> int:
    """Start the haproxy of one router, on the next port, so that both ways serve the same router."""
    conf = folder / f"{router}.conf"
    conf.write_text(
        _PER_ROUTER.format(agent=agent, router=router, log=folder / "log").replace(str(_PORT), str(_PORT + 1))
    )
    with _inside(router):
        process = subprocess.Popen(["haproxy", "-db", "-f", str(conf)])
    _wait(lambda: _answers(router, _PORT + 1))
    return process.pid


def _start_agent(path: str) -> int:
    """Start a process that reads once and answers, as the metadata agent does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1024)
    if pid := os.fork():
        listener.close()
        return pid
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n\r\ni-00000001"
    while True:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(answer)


def _start_log(path: str) -> int:
    """Start a process that reads log lines, and drops them."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(path)
    if pid := os.fork():
        receiver.close()
        return pid
    while True:
        receiver.recv(4096)


# ---- requests and figures --------------------------------------------------------------------------------------------


def _inside(router: str) -> Any:
    return enter(_HOME, _namespace(router))


_HOME = own_namespace()
_NAMESPACES: dict[str, int] = {}


def _namespace(router: str) -> int:
    if router not in _NAMESPACES:
        _NAMESPACES[router] = os.open(f"/run/netns/{router}", os.O_RDONLY | os.O_CLOEXEC)
    return _NAMESPACES[router]


def _send(router: str, count: int, port: int) -> None:
    """Send requests, each on a connection of its own, some at a time."""
    with _inside(router):
        for start in range(0, count, _PARALLEL):
            clients = [socket.create_connection((_ADDRESS, port)) for _ in range(min(_PARALLEL, count - start))]
            for client in clients:
                client.sendall(_REQUEST)
            for client in clients:
                received = b""
                while data := client.recv(65536):
                    received += data
                client.close()
                if b" 200 " not in received:
                    raise RuntimeError(f"{router}, port {port}: {received[:200]!r}")


def _answers(router: str, port: int) -> bool:
    try:
        _send(router, 1, port)
    except OSError:
        return False
    return True


def _wait(is_reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_reached():
        if time.monotonic() > deadline:
            raise RuntimeError("not reached after 60 s")
        time.sleep(0.02)


def _batch(lines: Iterable[str], router: str | None = None) -> None:
    netns = [] if router is None else ["-n", router]
    subprocess.run(["ip", *netns, "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)


def _cpu(pid: int) -> float:
    """Return the seconds that all threads of a process ran."""
    paths = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


def _pss(pid: int) -> float:
    """Return the proportional set size of proc_pid_smaps_rollup(5)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6, 2)
