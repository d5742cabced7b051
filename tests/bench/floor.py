# SPDX-License-Identifier: Apache-2.0
"""The kernel's own time: the same router by a C program that only sends what is handed to it, ready made.

It is compiled when the benchmark starts. Its messages are the fewest that this kernel takes; it reports its own time,
so that neither this interpreter nor the pipe between the two counts.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from struct import pack, unpack

from l3agent.dataplane.netlink import nft, rtnl
from l3agent.dataplane.netlink.message import (
    ACK,
    CREATE,
    EXCLUSIVE,
    attribute,
    message,
    nested,
    number_messages,
    text,
    u32,
)
from l3agent.dataplane.plan import encode
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.plan.render import entries
from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE, device_name
from l3agent.model.states import FloatingIP, NamespaceState, Port

_SOURCE = Path(__file__).with_name("floor.c")
#: What stands for the descriptor of the new namespace (see floor.c).
_FD_MARK = 0x7F6B5A49
# IFLA_* and IFF_UP of linux/if_link.h and net/if.h; VETH_INFO_PEER of linux/veth.h.
_ADDRESS, _IFNAME, _MTU, _MASTER, _LINKINFO, _NET_NS_FD, _TX_QUEUES, _RX_QUEUES = 1, 3, 4, 10, 18, 28, 31, 32
_UP = 1


class Floor:
    """The C program, fed with batches that are packed before its clock starts."""

    name = "C floor"
    tribe = 3
    traces = (f"{TAP_DEVICE}{tribe:02x}",)
    leftovers = ()

    @staticmethod
    def missing() -> str | None:
        """Say what it needs and this machine has not."""
        return None if shutil.which("cc") else "no C compiler: install the package gcc"

    def start(self, routers: Iterable[NamespaceState]) -> None:
        """Compile, start, and make the bridges."""
        folder = Path(tempfile.mkdtemp(prefix="bench-floor-", dir="/run"))
        program, pins = folder / "floor", folder / "netns"
        pins.mkdir()
        subprocess.run(["cc", "-O2", "-o", str(program), str(_SOURCE)], check=True, timeout=60)
        self._driver = load_driver("bridge")
        for name in sorted({_bridge(port) for router in routers for port in router.all_ports()}):
            subprocess.run(["ip", "link", "add", name, "type", "bridge", "mcast_snooping", "0"], check=True)
            subprocess.run(["ip", "link", "set", name, "up"], check=True)
        self._process = subprocess.Popen([program, pins], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)

    def cpu(self) -> float:
        """Return the CPU seconds of the program so far (see ``DataplaneProcess.cpu``)."""
        return time.clock_gettime((~self._process.pid << 3) | 2)

    # ---- the operations --------------------------------------------------------------------------------------

    def build(self, router: NamespaceState) -> Mapping[str, float]:
        """Make a router where there is none."""
        plan = self._plan(router, None)
        outside = b"".join(_veth(port, socket.if_nametoindex(_bridge(port))) for port in _in_order(router))
        rules = nft.batch([body for body, _ in encode.rule_messages(plan)], 1)[0]
        return self._tell(b"b", router, _batch(outside), _inside(plan, _indexes(router)), rules)

    def look(self, router: NamespaceState) -> Mapping[str, float]:
        """Ask whether the rules are those of the last time."""
        asked = nft.get_generation()
        return self._tell(b"s", router, b"", asked[:6] + pack("=HI", 1 | ACK, 1) + asked[12:])

    def add(self, router: NamespaceState, fip: FloatingIP) -> Mapping[str, float]:
        """Bring one more floating IP: two map elements and an address."""
        return self._change(router, replace(router, floating_ips=router.floating_ips - {fip}))

    def remove(self, router: NamespaceState, fip: FloatingIP) -> Mapping[str, float]:
        """Take one floating IP away; its flows are not looked for."""
        return self._change(router, replace(router, floating_ips=router.floating_ips | {fip}))

    def delete(self, router: NamespaceState) -> Mapping[str, float]:
        """Close, drop the pin, and let the kernel do the rest."""
        return self._tell(b"d", router)

    # ---- private ---------------------------------------------------------------------------------------------

    def _plan(self, router: NamespaceState, before: NamespaceState | None) -> Plan:
        key = ("router", router.id)
        present = entries(key, before, self._driver) if before else frozenset()
        made = diff(entries(key, router, self._driver), present)
        # That flows must be dropped is not journalled here, nor are they dropped.
        return Plan(tuple(one for one in made.operations if not isinstance(one.entry, PendingFlush)))

    def _change(self, router: NamespaceState, before: NamespaceState) -> Mapping[str, float]:
        plan = self._plan(router, before)
        rules = nft.batch([body for body, _ in encode.rule_messages(plan)], 1)[0]
        return self._tell(b"s", router, _inside(plan, _indexes(router)), rules)

    def _tell(self, command: bytes, router: NamespaceState, *batches: bytes) -> Mapping[str, float]:
        assert self._process.stdin is not None and self._process.stdout is not None
        sizes = pack(f"={len(batches)}I", *map(len, batches))
        self._process.stdin.write(command + pack("=I", int(router.id[2:8], 16)) + sizes + b"".join(batches))
        answer = self._process.stdout.read(8)
        if len(answer) != 8:
            raise RuntimeError("the C floor ended; it said why on standard error")
        return {"wall": unpack("=Q", answer)[0] / 1e9}


def _in_order(router: NamespaceState) -> list[Port]:
    return sorted(router.all_ports(), key=lambda port: port.device)


def _indexes(router: NamespaceState) -> dict[str, int]:
    """Return the indexes that the kernel gives the devices of a namespace that has only ``lo``."""
    return {port.device: index for index, port in enumerate(_in_order(router), start=2)}


def _inside(plan: Plan, index: Mapping[str, int]) -> bytes:
    made = encode.namespace_messages(plan, index)
    return _batch(b"".join(body for body, _ in (*made.additions, *made.removals)))


def _batch(body: bytes) -> bytes:
    data = bytearray(body)
    number_messages(data, 1)
    return bytes(data)


def _veth(port: Port, master: int) -> bytes:
    """Return one message for a pair: on its bridge and up at once."""
    both = u32(_TX_QUEUES, 1) + u32(_RX_QUEUES, 1) + u32(_MTU, port.mtu or 1500)
    mac = bytes.fromhex(port.mac.replace(":", ""))
    peer = bytes(16) + text(_IFNAME, port.device) + attribute(_ADDRESS, mac) + u32(_NET_NS_FD, _FD_MARK) + both
    info = nested(_LINKINFO, text(1, "veth"), nested(2, nested(1, peer)))
    head = pack("=BxHiII", 0, 0, 0, _UP, _UP)
    name = text(_IFNAME, device_name(TAP_DEVICE, port.id))
    return message(rtnl.NEWLINK, CREATE | EXCLUSIVE, head + name + both + u32(_MASTER, master) + info)


def _bridge(port: Port) -> str:
    return device_name(BRIDGE_DEVICE, port.network_id)
