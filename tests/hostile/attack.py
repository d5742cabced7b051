# SPDX-License-Identifier: Apache-2.0
"""The attack: frames from a process of the agent's user, and what they cost the data plane and the node."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from tests.hostile.node import AGENT, Node
from tests.support.node import Facts, differences
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox
from tests.support.waiting import poll

_REPOSITORY = Path(__file__).parents[2]
_PAUSE_S = 0.2
#: What must not be in the log: a defect of the data plane, which it has survived.
_DEFECT = re.compile(r"Traceback|internal error|Segmentation|Exception in thread|Exception ignored")


@dataclass
class Costs:
    """Measurements during the attack; memory in MB, times in seconds."""

    pss_max: float = 0.0
    #: Time until the data plane answers a second client, and the time of its thread on a CPU meanwhile.
    answer_max: float = 0.0
    blocked_max: float = 0.0


@dataclass
class AttackResult:
    """Result of an attack; ``faults`` is empty if nothing forbidden happened."""

    sent: dict[str, int]
    seconds: float
    pss_before: float
    pss_after: float
    costs: Costs
    log_lines: int
    log_bytes: int
    faults: list[str] = field(default_factory=list)


def attack(frames: int, seed: int) -> AttackResult:
    """Send frames to a data plane in a sandbox of its own and compare the node before and after."""
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    try:
        with Sandbox() as sandbox:
            node = Node(sandbox, folder)
            node.start()
            try:
                return _attack(node, frames, seed)
            finally:
                node.dataplane.hang_up()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _attack(node: Node, frames: int, seed: int) -> AttackResult:
    machine, pid = node.dataplane, node.dataplane.pid
    before, pss_before = _settled(node), pss_mb(pid)
    started = time.monotonic()
    with _Watch(machine) as watch:
        sent = _run_client(node, frames, seed)
    seconds = time.monotonic() - started
    faults = [] if machine.status is None else [f"the data plane ended with status {machine.status}"]
    log = machine.log.read_bytes()
    if not faults:
        _remove_everything(machine)
        try:
            poll(lambda: differences(before, node.facts()) == [], timeout=60)
        except TimeoutError:
            faults += differences(before, node.facts())
    faults += [line for line in log.decode(errors="replace").splitlines() if _DEFECT.search(line)][:20]
    if re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", log):
        faults.append("the log has control characters")
    after = 0.0 if machine.status is not None else pss_mb(pid)
    return AttackResult(sent, seconds, pss_before, after, watch.costs, log.count(b"\n"), len(log), faults)


def _settled(node: Node) -> Facts:
    """Return the facts of a node once its devices are up."""
    before = node.facts()

    def is_settled() -> bool:
        nonlocal before
        before, former = node.facts(), before
        # Duplicate address detection (RFC 4862) is over, too.
        return before == former and not any("tentative" in line for line in before["addresses"])

    time.sleep(1)
    poll(is_settled, timeout=30)
    return before


def _run_client(node: Node, frames: int, seed: int) -> dict[str, int]:
    script = [sys.executable, "-m", "tests.hostile.client", str(node.dataplane.socket_path), str(AGENT)]
    client = node.sandbox.popen(
        ["env", f"PYTHONPATH={_REPOSITORY}", *script, str(frames), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    output, _ = client.entrance.communicate()
    if client.entrance.returncode:
        return {}
    found: dict[str, int] = json.loads(output)
    return found


def _remove_everything(machine: Dataplane) -> None:
    """Remove all that the frames brought about, as an agent does with routers that it does not serve."""
    machine.request("invalidate", {"keys": None})
    inventory = machine.request("inventory", {})
    keys = [(kind, one) for kind, ids in inventory.items() for one in ids]
    for key in sorted(keys, key=lambda key: key[0] == "network"):
        machine.reconcile((key, None))


class _Watch:
    """Measures the memory of a data plane, and the time to its answer to another client; a context manager."""

    def __init__(self, machine: Dataplane) -> None:
        self.costs = Costs()
        self._pid, self._path = machine.pid, str(machine.socket_path)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=one) for one in (self._weigh, self._request)]

    def __enter__(self) -> _Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _weigh(self) -> None:
        while not self._stop.wait(_PAUSE_S):
            try:
                self.costs.pss_max = max(self.costs.pss_max, pss_mb(self._pid))
            except OSError:
                return

    def _request(self) -> None:
        while not self._stop.wait(_PAUSE_S):
            try:
                cpu, began = cpu_seconds(self._pid), time.monotonic()
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(120)
                    client.connect(self._path)
                    # Busy, or the answer to this.
                    client.sendall(msgpack.packb([1, "hello", {}]))
                    client.recv(4096)
                self.costs.answer_max = max(self.costs.answer_max, time.monotonic() - began)
                self.costs.blocked_max = max(self.costs.blocked_max, cpu_seconds(self._pid) - cpu)
            except OSError:
                # Closed before the request was sent: the answer was Busy.
                continue


def pss_mb(pid: int) -> float:
    """Return the proportional set size of a process in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000


def cpu_seconds(pid: int) -> float:
    """Return the time that the first thread of a process, which does the kernel work, was on a CPU."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
