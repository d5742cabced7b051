# SPDX-License-Identifier: Apache-2.0
"""A node under attack: a tap of a VM, a bridge of another program, a NIC, files of root; the data plane of the unit."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from l3agent.model.names import BRIDGE_DEVICE, TAP_DEVICE, device_name
from tests.hostile.frames import FOREIGN_NETWORK, NIC, VM_PORT
from tests.support.node import Facts, node_facts
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox

#: User id of the agent (nobody).
AGENT = 65534
_UNIT = Path(__file__).parents[2] / "etc" / "systemd" / "l3-dataplane.service"
_ETC = "/etc"


class Node:
    """A sandbox with devices and files that are not ours.

    :param folder: an empty directory.
    """

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self._folder = folder
        folder.chmod(0o755)
        state = folder / "agent"
        state.mkdir()
        os.chown(state, AGENT, AGENT)
        self.dataplane = Dataplane(sandbox, folder, {"DEFAULT": {"state_path": state}}, socket=state / "dp.sock")
        self.dataplane.socket_path = state / "dp.sock"
        self._put_files()
        self._put_devices()

    def start(self) -> None:
        """Start the data plane with the capabilities of its unit."""
        kept = ",".join(f"+{name.removeprefix('CAP_').lower()}" for name in _capabilities())
        privileges = (f"--bounding-set=-all,{kept}", "--inh-caps=-all", "--no-new-privs")
        self.dataplane.start("setpriv", *privileges, "--")

    def facts(self) -> Facts:
        """Return all that must be as before when the attack is over and the routers of the agent are removed."""
        links = self.sandbox.json("ip -j -d link")
        return {
            **node_facts(self.sandbox),
            "links": {_link(one) for one in links},
            "namespaces": self.sandbox.namespaces(),
            "files": {*_files(self._folder / "roots"), *_files(self._folder / "etc")},
            "names": {one.name for one in self._folder.iterdir()},
        }

    def _put_files(self) -> None:
        """Create files of root, and an /etc of this sandbox, so that other programs of the machine do not change it."""
        roots = self._folder / "roots"
        roots.mkdir()
        for name, mode in (("shadow", 0o600), ("logging.conf", 0o644), ("program", 0o755)):
            (roots / name).write_text(name)
            (roots / name).chmod(mode)
        shutil.copytree(_ETC, self._folder / "etc", symlinks=True, ignore_dangling_symlinks=True)
        self.sandbox.run(["mount", "--bind", str(self._folder / "etc"), _ETC])

    def _put_devices(self) -> None:
        tap, bridge = device_name(TAP_DEVICE, VM_PORT), device_name(BRIDGE_DEVICE, FOREIGN_NETWORK)
        commands = f"""
            ip tuntap add dev {tap} mode tap
            ip link add {bridge} type bridge
            ip link add br0 type bridge
            ip link add {NIC} type veth peer name wire0
            ip link add nic1 type veth peer name wire1
            ip link set nic1 master br0
            ip link set {tap} master br0
            ip link add vm1 type veth peer name in-vm1
            ip link set vm1 master {bridge}
            for one in vm1 in-vm1 {tap} {bridge} br0 {NIC} nic1 wire0 wire1; do ip link set $one up; done
            ip address add 192.0.2.77/24 dev {NIC}
            ip address add 198.51.100.77/24 dev br0
            ip route add default via 192.0.2.1
            ip rule add from 198.51.100.0/24 lookup 77
            ip route add default via 198.51.100.1 table 77
            nft 'table inet filter {{ chain input {{ type filter hook input priority 0; tcp dport 22 accept; }}; }}'
            ip netns add vm-of-others
        """
        self.sandbox.run(["sh", "-ec", commands])


def _link(link: dict[str, Any]) -> str:
    names = ("ifname", "ifindex", "address", "flags", "mtu", "master", "operstate", "ifalias", "link")
    return f"{link.get('linkinfo', {}).get('info_kind')} {[link.get(name) for name in names]}"


def _capabilities() -> list[str]:
    lines = re.findall(r"^CapabilityBoundingSet=(.*)$", _UNIT.read_text(), re.MULTILINE)
    return " ".join(lines).split()


def _files(folder: Path) -> Iterator[str]:
    """Yield the name, owner, mode and content of each file below a folder."""
    for path in folder.rglob("*"):
        found = path.lstat()
        content = ""
        if stat.S_ISREG(found.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(found.st_mode):
            content = os.readlink(path)
        yield f"{path} {found.st_uid}:{found.st_gid} {found.st_mode:o} {content}"
