# SPDX-License-Identifier: Apache-2.0
"""The chain of metadata in a sandbox: routers with a client each, the real ``l3-metadata`` and haproxy, and a simulated
metadata agent. The test process is the parent of ``l3-metadata``."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from l3agent.dataplane.kernel.netns import enter, own_namespace
from l3agent.model.haproxy import MetadataProxy, haproxy_configuration
from l3agent.model.metadata_messages import (
    MAX_PACKET,
    AddRouter,
    Configure,
    ControlAnswer,
    QueryStatus,
    RemoveRouter,
    Request,
    decode_answer,
    encode_request,
)
from tests.support.metadata_agent import SimulatedAgent, read_answer, request
from tests.support.sandbox import Inside, Sandbox
from tests.support.waiting import poll

METADATA_IPV4, METADATA_IPV6 = "169.254.169.254", "fe80::a9fe:a9fe"
PORT = 9697
ROUTER_ADDRESS, CLIENT_ADDRESS = "10.0.0.1", "10.0.0.9"
#: Other addresses of the client.
MORE_ADDRESSES = tuple(f"10.0.0.{last}" for last in range(10, 30))
_DEVICE = "eth0"
#: As the console script does it; tests/functional/test_package.py runs the script.
L3_METADATA = "import os, sys; from l3agent.cmd.metadata import main; {drop}sys.exit(main())"

_RULES = f"""
table inet metadata {{
    chain prerouting {{
        type nat hook prerouting priority dstnat;
        ip daddr {METADATA_IPV4} tcp dport 80 redirect to :{PORT}
        ip6 daddr {METADATA_IPV6} tcp dport 80 redirect to :{PORT}
    }}
}}
"""


def router_id(number: int) -> str:
    """Return the id of a router."""
    return f"aaaaaaaa-0000-4000-8000-{number:012d}"


class Metadata:
    """Routers with one client each, and the chain that serves them.

    :param folder: for sockets and logs.
    """

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        (folder / "run").mkdir(mode=0o700)
        self.front = folder / "run" / "haproxy.sock"
        self.agent = SimulatedAgent(folder / "agent.sock")
        self.proxy = MetadataProxy(str(self.front), str(self.agent.path), log="stdout")
        self.configuration = Configure(str(self.front))
        self.haproxy: Inside | None = None
        self.haproxy_log = folder / "haproxy.log"
        self.acceptor: Inside | None = None
        self.log = folder / "l3-metadata.log"
        self.listeners: dict[int, socket.socket] = {}
        self._namespaces: dict[str, int] = {}
        self._home = own_namespace()
        self._control: socket.socket | None = None
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """Release what this process has; the sandbox ends the programs."""
        for listener in self.listeners.values():
            listener.close()
        self.hang_up()
        self.agent.stop()
        for fd in (*self._namespaces.values(), self._home):
            os.close(fd)

    # Routers and clients.

    def build(self, numbers: range) -> None:
        """Create routers, each with a client in a network of its own; all networks have the same addresses."""
        lines = []
        for number in numbers:
            lines += [f"netns add r{number}", f"netns add c{number}"]
        self._ip(lines)
        self._ip([f"link add {_DEVICE} netns r{one} type veth peer name {_DEVICE} netns c{one}" for one in numbers])
        for number in numbers:
            self._build_namespace(f"r{number}", ROUTER_ADDRESS)
            self.sandbox.run(["nft", "-f", "-"], netns=f"r{number}", input=_RULES)
            self._build_namespace(f"c{number}", CLIENT_ADDRESS, *MORE_ADDRESSES)

    def _build_namespace(self, name: str, *addresses: str) -> None:
        lines = ["link set lo up", f"link set {_DEVICE} up"]
        lines += [f"addr add {address}/24 dev {_DEVICE}" for address in addresses]
        if name.startswith("r"):
            lines += [f"addr add {METADATA_IPV6}/128 dev {_DEVICE} nodad", f"addr add fe80::1/64 dev {_DEVICE} nodad"]
        else:
            lines += [f"addr add fe80::9/64 dev {_DEVICE} nodad", f"route add default via {ROUTER_ADDRESS}"]
        self._ip(lines, name)

    def _ip(self, lines: list[str], netns: str | None = None) -> None:
        self.sandbox.run(["ip", "-batch", "-"], netns=netns, input="\n".join(lines) + "\n")

    @contextlib.contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """Enter a namespace: sockets created there belong to it."""
        if name not in self._namespaces:
            path = f"/proc/{self.sandbox.init_pid}/root/run/netns/{name}"
            self._namespaces[name] = os.open(path, os.O_RDONLY)
        with enter(self._home, self._namespaces[name]):
            yield

    def listen(self, number: int) -> socket.socket:
        """Return a listening socket in a router, for both address families."""
        with self.inside(f"r{number}"):
            listener = socket.socket(socket.AF_INET6)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("::", PORT))
        listener.listen(4096)
        return listener

    def connect(
        self, number: int, address: str = METADATA_IPV4, port: int = 80, source: str = "", timeout: float = 20
    ) -> socket.socket:
        """Return a connection of the client of a router."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.inside(f"c{number}"):
            client = socket.socket(family)
            scope = socket.if_nametoindex(_DEVICE)
        client.settimeout(timeout)
        if source:
            client.bind((source, 0))
        client.connect((address, port, 0, scope) if family == socket.AF_INET6 else (address, port))
        return client

    def get(self, number: int, *headers: str, path: str = "/latest/meta-data", **where: Any) -> tuple[int, Any]:
        """Send one request of the client of a router; return status and body (of JSON, if it is)."""
        with self.connect(number, **where) as client:
            client.sendall(request(path, "Connection: close", *headers))
            return read_answer(client)

    # The programs.

    def start(self, *numbers: int) -> None:
        """Start agent, haproxy and acceptor, and serve routers."""
        self.agent.start()
        self.start_haproxy()
        self.start_acceptor()
        for number in numbers:
            self.add(number)

    def start_haproxy(self, prefix: tuple[str, ...] = (), **changes: Any) -> None:
        """Start haproxy and wait until it listens."""
        self.proxy = replace(self.proxy, **changes)
        path = self.folder / "haproxy.conf"
        path.write_text(haproxy_configuration(self.proxy))
        self.front.unlink(missing_ok=True)
        with self.haproxy_log.open("ab") as log:
            self.haproxy = self.sandbox.popen(
                [*prefix, "haproxy", "-db", "-f", str(path)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        poll(self.front.exists, timeout=30)

    def start_acceptor(self, user: int | None = None, **changes: Any) -> None:
        """Start ``l3-metadata`` and configure it.

        :param user: id of its user and group, None for root. They are set once its modules are imported, since another
            user may not reach the directory of the tests.
        """
        self.configuration = replace(self.configuration, **changes)
        self.hang_up()
        self._control, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(30)
        drop = "" if user is None else f"os.setgroups([]); os.setgid({user}); os.setuid({user}); "
        argv = [sys.executable, "-c", L3_METADATA.format(drop=drop), "--control-fd", str(other.fileno())]
        with self.log.open("ab") as log, other:
            self.acceptor = self.sandbox.popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[other.fileno()]
            )
        self.request(self.configuration)

    def hang_up(self) -> None:
        """Close the parent's end."""
        if self._control is not None:
            self._control.close()
            self._control = None

    def add(self, number: int) -> None:
        """Serve a router; this process keeps a duplicate of its socket."""
        if number not in self.listeners:
            self.listeners[number] = self.listen(number)
        self.request(AddRouter(router_id(number)), self.listeners[number].fileno())

    def remove(self, number: int) -> None:
        """Serve a router no more."""
        self.listeners.pop(number).close()
        self.request(RemoveRouter(router_id(number)))

    def request(self, request: Request, *descriptors: int) -> Any:
        """Send a request to the acceptor and return its result."""
        answer = self.exchange(encode_request(next(self._numbers), request), *descriptors)
        assert answer.error is None, answer
        return answer.result

    def exchange(self, packet: bytes, *descriptors: int) -> ControlAnswer:
        """Send a packet and return its answer."""
        assert self._control is not None
        socket.send_fds(self._control, [packet], descriptors)
        return decode_answer(self._control.recv(MAX_PACKET))

    def status(self) -> Any:
        """Return the counters."""
        return self.request(QueryStatus())

    def result(self, number: int, name: str) -> int:
        """Return one counter of a router."""
        counters: dict[str, int] = self.status()["routers"][router_id(number)]
        return counters.get(name, 0)


@contextlib.contextmanager
def chain(sandbox: Sandbox, folder: Path) -> Iterator[Metadata]:
    metadata = Metadata(sandbox, folder)
    try:
        yield metadata
    finally:
        metadata.close()
        for log in (metadata.log, metadata.haproxy_log):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-5000:] if log.exists() else ''}")


def half_a_request(metadata: Metadata, number: int, **where: Any) -> socket.socket:
    """Return a connection that acceptor and haproxy hold: its request never ends."""
    client = metadata.connect(number, **where)
    client.sendall(b"GET / HTTP/1.1\r\n")
    return client
