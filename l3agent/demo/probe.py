# SPDX-License-Identifier: Apache-2.0
"""Probes: pings and TCP connections from inside a namespace, without the programs ``ping`` and ``nc``.

Each probe is a child process that enters the namespace, calls a function, and sends JSON lines to its parent. The
parent must have one thread and must not be patched by eventlet. Used by the demo and by tests.
Source: RFC 792 and RFC 4443 (echo), RFC 1071 (checksum).
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import json
import os
import select
import selectors
import signal
import socket
import struct
import time
from collections.abc import Callable
from typing import Any, NoReturn

from l3agent.demo import sandbox
from l3agent.exceptions import L3AgentError

_ICMP = {4: (socket.AF_INET, socket.IPPROTO_ICMP), 6: (socket.AF_INET6, socket.IPPROTO_ICMPV6)}
#: ICMP types of echo messages; the key is True for IPv4, False for IPv6.
_REQUEST = {True: 8, False: 128}
_REPLY = {True: 0, False: 129}
#: Maximum running time of a probe in seconds.
_MAX_RUNTIME_S = 60.0


class ProbeError(L3AgentError):
    """A probe failed, or sent no result in time."""


class Probe:
    """A function that runs in a namespace.

    :param namespace: path where the network namespace is pinned.
    :param function: called in the child as ``function(parent, *arguments)``; ``parent`` is a socket that becomes
        readable when the function must return. The result must be serializable as JSON.
    """

    def __init__(self, namespace: str, function: Callable[..., Any], *arguments: Any) -> None:
        self._socket, child_socket = socket.socketpair()
        self._buffer = b""
        self._pid = os.fork()
        if self._pid == 0:
            _run_child(namespace, child_socket, function, arguments)
        child_socket.close()

    def read(self, timeout: float) -> Any:
        """Return the next result that the child sent.

        :param timeout: seconds.
        :raises ProbeError: the child failed, ended, or sent nothing in time.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            if not _readable(self._socket, deadline):
                raise ProbeError(f"no answer within {timeout:.1f} s")
            part = self._socket.recv(65536)
            if not part:
                raise ProbeError("the probe ended without an answer")
            self._buffer += part
        line, self._buffer = self._buffer.split(b"\n", 1)
        message = json.loads(line)
        if "error" in message:
            raise ProbeError(message["error"])
        return message["result"]

    def finish(self, timeout: float = 5.0) -> Any:
        """Make the function return; return its result, within ``timeout`` seconds."""
        self._socket.shutdown(socket.SHUT_WR)
        return self.read(timeout)

    def close(self) -> None:
        """Kill the child."""
        self._socket.close()
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run(namespace: str, timeout: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function`` in ``namespace`` and return its result, within ``timeout`` seconds.

    :raises ProbeError: the function failed or took longer.
    """
    with Probe(namespace, function, *arguments) as probe:
        return probe.read(timeout)


def ping(parent: socket.socket, target: str, interval: float = 0.01, count: int = 0, patience: float = 1.0) -> Any:
    """Send an echo request every ``interval`` seconds, until ``parent`` is readable or ``count`` are sent.

    :param patience: seconds to wait for the last replies.
    :returns: ``sent``, ``received``, ``lost`` (sequence numbers), ``gap`` (longest time between two replies),
        ``rtt`` (median) and ``slowest``; times in seconds, the last two None without a reply.
    """
    with _Pinger(ipaddress.ip_address(target)) as pinger:
        next_send = time.monotonic()
        end = next_send + _MAX_RUNTIME_S
        while time.monotonic() < end and not (count and len(pinger.sent) == count) and not _readable(parent, 0):
            pinger.send()
            next_send += interval
            pinger.collect(next_send)
        end = time.monotonic() + patience
        while len(pinger.replied) < len(pinger.sent) and time.monotonic() < end:
            pinger.collect(min(end, time.monotonic() + 0.02))
        return pinger.summary()


def serve(parent: socket.socket, name: str, port: int) -> None:
    """Listen on TCP ``port``; send ``{"server": name, "peer": address}`` to each new client, then echo its lines."""
    with (
        selectors.DefaultSelector() as selector,
        socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True) as listener,
    ):
        selector.register(parent, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        _send(parent, {"result": "ready"})
        while True:
            for key, _ in selector.select(_MAX_RUNTIME_S):
                if key.fileobj is parent:
                    return
                _handle_readable(selector, listener, key.fileobj, name)


def connect(parent: socket.socket, address: str, port: int, timeout: float = 2.0) -> Any:
    """Connect to a :func:`serve` and return its greeting, or None on failure or after ``timeout`` seconds."""
    try:
        with socket.create_connection((address, port), timeout) as connection:
            return json.loads(connection.makefile("rb").readline())
    except OSError:
        return None


def exchange_lines(parent: socket.socket, address: str, port: int, interval: float = 0.02) -> Any:
    """Exchange a line with a :func:`serve` every ``interval`` seconds on one connection, until ``parent`` is readable.

    :returns: ``lines`` (number of lines echoed) and ``slowest`` (longest round trip in seconds).
    :raises OSError: the connection broke, or a reply took longer than 5 s.
    """
    with socket.create_connection((address, port), 5.0) as connection:
        replies = connection.makefile("rb")
        replies.readline()
        lines, slowest = 0, 0.0
        while not _readable(parent, time.monotonic() + interval):
            start = time.monotonic()
            connection.sendall(b"%d\n" % lines)
            if replies.readline() != b"%d\n" % lines:
                raise ConnectionError(f"the connection to {address} was closed after {lines} lines")
            lines, slowest = lines + 1, max(slowest, time.monotonic() - start)
    return {"lines": lines, "slowest": slowest}


def _run_child(
    namespace: str, parent: socket.socket, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> NoReturn:
    try:
        sandbox.enter(namespace)
        message = {"result": function(parent, *arguments)}
    except OSError as exc:
        message = {"error": str(exc)}
    except BaseException as exc:  # the parent receives every error, and no handler of the parent may run in the child
        message = {"error": repr(exc)}
    with contextlib.suppress(OSError):
        _send(parent, message)
    os._exit(0)


def _send(parent: socket.socket, message: dict[str, Any]) -> None:
    parent.sendall(json.dumps(message).encode() + b"\n")


def _readable(source: socket.socket, deadline: float) -> bool:
    return bool(select.select([source], [], [], max(0.0, deadline - time.monotonic()))[0])


class _Pinger:
    """Echo requests sent to one address, and the replies received from it."""

    def __init__(self, target: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
        self._target = target
        self._is_ipv4 = target.version == 4
        self._identifier = os.getpid() & 0xFFFF
        family, protocol = _ICMP[target.version]
        self._socket = socket.socket(family, socket.SOCK_RAW, protocol)
        self.sent: dict[int, float] = {}
        self.replied: dict[int, float] = {}

    def send(self) -> None:
        sequence = len(self.sent)
        self.sent[sequence] = time.monotonic()
        body = struct.pack("!HHQ", self._identifier, sequence & 0xFFFF, sequence)
        head = struct.pack("!BBH", _REQUEST[self._is_ipv4], 0, _checksum(body) if self._is_ipv4 else 0)
        with contextlib.suppress(OSError):  # no route at the moment: the request counts as lost
            self._socket.sendto(head + body, (str(self._target), 0))

    def collect(self, deadline: float) -> None:
        """Record the replies that arrive until ``deadline``."""
        while _readable(self._socket, deadline):
            packet, sender = self._socket.recvfrom(2048)
            if self._is_ipv4:
                packet = packet[(packet[0] & 0x0F) * 4 :]
            if len(packet) < 16 or ipaddress.ip_address(sender[0].split("%")[0]) != self._target:
                continue
            kind, _, _, identifier, _, sequence = struct.unpack_from("!BBHHHQ", packet)
            if kind == _REPLY[self._is_ipv4] and identifier == self._identifier and sequence in self.sent:
                self.replied.setdefault(sequence, time.monotonic())

    def summary(self) -> dict[str, Any]:
        times = sorted(self.replied.values())
        trips = sorted(self.replied[sequence] - self.sent[sequence] for sequence in self.replied)
        return {
            "sent": len(self.sent),
            "received": len(self.replied),
            "lost": sorted(set(self.sent) - set(self.replied)),
            "gap": max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0),
            "rtt": trips[len(trips) // 2] if trips else None,
            "slowest": trips[-1] if trips else None,
        }

    def __enter__(self) -> _Pinger:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _checksum(body: bytes) -> int:
    """Return the checksum of an ICMP echo request with ``body``; the kernel computes the one of ICMPv6."""
    total: int = (_REQUEST[True] << 8) + sum(struct.unpack(f"!{len(body) // 2}H", body))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def _handle_readable(selector: selectors.BaseSelector, listener: socket.socket, ready: Any, name: str) -> None:
    """Accept and greet a new client, or echo what a connected client sent."""
    if ready is listener:
        connection, peer = listener.accept()
        address = str(ipaddress.IPv6Address(peer[0]).ipv4_mapped or peer[0])
        _send(connection, {"server": name, "peer": address})
        selector.register(connection, selectors.EVENT_READ)
        return
    with contextlib.suppress(OSError):
        if data := ready.recv(65536):
            ready.sendall(data)
            return
    selector.unregister(ready)
    ready.close()
