# SPDX-License-Identifier: Apache-2.0
"""The captured router as neutron-l3-agent leaves it in the kernel, and traffic through it without a pause."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Interface
from pathlib import Path

from l3agent.model.states import NamespaceState, Port
from tests.support import steady
from tests.support.payloads import legacy_payload
from tests.support.sandbox import Sandbox
from tests.support.states import bridge, desired_namespace, namespace, tap
from tests.support.waiting import poll
from tests.support.watch import Program

_CAPTURED = Path(__file__).parents[1] / "scenarios" / "legacy"
#: What iptables-save and ip6tables-save printed in the captured router.
RULES = {name: (_CAPTURED / f"{name}-save.txt").read_text() for name in ("iptables", "ip6tables")}
_KNOWS = re.compile(r" q[rg]-\w| \d+\.\d+\.")
_SETTINGS = (
    "net.ipv4.ip_forward=1",
    "net.ipv4.conf.all.promote_secondaries=1",
    "net.ipv4.conf.all.arp_ignore=1",
    "net.ipv4.conf.all.arp_announce=2",
    "net.ipv6.conf.all.forwarding=1",
    "net.netfilter.nf_conntrack_tcp_be_liberal=1",
)


def captured_router() -> NamespaceState:
    """Return the captured router."""
    return desired_namespace(legacy_payload())


def build(sandbox: Sandbox, state: NamespaceState) -> None:
    """Make the captured router as neutron-l3-agent does, with the linux bridge driver."""
    name = namespace(state)
    sandbox.run(["sh", "-e", "-c", "\n".join(_commands(state, name))], timeout=120)
    put_rules(sandbox, state)


def put_rules(
    sandbox: Sandbox, state: NamespaceState, *, skeleton: bool = False, pause: Callable[[], None] = lambda: None
) -> None:
    """Put the rules of neutron-l3-agent into a router, table by table in one step each.

    :param skeleton: those that it puts in first, when it knows neither devices nor addresses yet.
    :param pause: called between two tables.
    """
    for program, text in RULES.items():
        # The worst order: what drops packets without a mark comes before what marks them.
        for table in sorted(re.findall(r"^\*.*?^COMMIT\n", text, flags=re.DOTALL | re.MULTILINE)):
            lines = [line for line in table.splitlines() if not (skeleton and _KNOWS.search(line))]
            sandbox.run([f"{program}-restore"], netns=namespace(state), input="\n".join([*lines, ""]), timeout=60)
            pause()


def rules(sandbox: Sandbox, state: NamespaceState) -> str:
    """Return the rules of a router as iptables prints them, without counters and times."""
    saved = "".join(sandbox.run([f"{program}-save"], netns=namespace(state)) for program in RULES)
    return re.sub(r" \[\d+:\d+\]$|^#.*\n", "", saved, flags=re.MULTILINE)


def _commands(state: NamespaceState, name: str) -> Iterator[str]:
    yield f"ip netns add {name}"
    yield f"ip -n {name} link set lo up"
    yield from (f"ip netns exec {name} sysctl -qw {setting}" for setting in _SETTINGS)
    for port in state.all_ports():
        yield from _plugged(port, name)
    for fip in state.floating_ips:
        assert state.gateway is not None
        address = f"{fip.floating}/32 broadcast {fip.floating}"
        yield f"ip -n {name} address add {address} dev {state.gateway.device}"
    for route in sorted(state.routes, key=lambda one: any(hop.via is not None for hop in one.hops)):
        (hop,) = route.hops
        way = f"via {hop.via} dev {hop.device}" if hop.via else f"dev {hop.device} scope link"
        yield f"ip -n {name} route replace {route.destination} {way} proto static"


def _plugged(port: Port, name: str) -> Iterator[str]:
    switch, outer = bridge(port.network_id), tap(port)
    yield f"ip link show {switch} >/dev/null 2>&1 || ip link add {switch} up type bridge"
    yield f"ip link add {outer} type veth peer name {port.device} address {port.mac} mtu {port.mtu} netns {name}"
    yield f"ip link set {outer} master {switch} mtu {port.mtu} up"
    yield f"ip -n {name} link set {port.device} up"
    for interface in port.addresses:
        extra = f"broadcast {interface.network.broadcast_address}" if isinstance(interface, IPv4Interface) else "nodad"
        yield f"ip -n {name} address add {interface} {extra} dev {port.device}"


class Steady:
    """Traffic without a pause; use it as a context manager.

    :param servers: namespaces that answer.
    :param clients: kind, namespace, address; see :mod:`tests.support.steady`.
    :param pings: namespace and address of pings, one each 10 ms.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        servers: list[str],
        clients: list[tuple[str, str, str]],
        pings: list[tuple[str, str]],
    ) -> None:
        script = str(Path(steady.__file__).resolve())
        self._process = sandbox.popen(
            [sys.executable, "-I", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._write(json.dumps({"servers": servers, "clients": clients}))
        self._pings = [Program(sandbox, ["ping", "-n", "-i", "0.01", to], name) for name, to in pings]

    def __enter__(self) -> Steady:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for ping in self._pings:
            ping.close()
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def goes_on(self, times: int = 20) -> None:
        """Wait until each client has sent that many times more."""
        before = self.counts()
        poll(
            lambda: all(now["sent"] >= before[name]["sent"] + times for name, now in self.counts().items()),
            timeout=60,
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return what each client sent, lost and had to send again."""
        self._write("")
        found: dict[str, dict[str, int]] = json.loads(self._process.stdout.readline())
        return found

    def unanswered(self) -> list[set[int]]:
        """Return the numbers of the pings that were not answered, by ping; later ones were."""
        return [set(range(1, max(numbers, default=2))) - numbers for numbers in map(_answers, self._pings)]

    def answered(self) -> int:
        """Return how many pings were answered."""
        return sum(map(len, map(_answers, self._pings)))

    def _write(self, line: str) -> None:
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()


def totals(counts: dict[str, dict[str, int]]) -> dict[str, int]:
    """Return how much was sent of each kind."""
    kinds = Counter[str]()
    for name, count in counts.items():
        kinds[name.partition(" ")[0]] += count["sent"]
    return dict(kinds)


def _answers(ping: Program) -> set[int]:
    return {int(one) for one in re.findall(r"icmp_seq=(\d+) ttl", "\n".join(ping.lines()))}
