# SPDX-License-Identifier: Apache-2.0
"""An upgrade in place: what an earlier release left in the kernel and in files is adopted, and no packet is lost.

tests/functional/upgrade has the kernel state, the files and the configuration of each release, recorded with its code;
they are rebuilt here by ip, nft and sysctl alone. See record.py there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from l3agent.conf import RENAMED_OPTS, list_opts
from l3agent.model.desired import desired_state
from l3agent.testing import wait_until
from tests.support.cloud import HOST, assert_same
from tests.support.kernel import RouterFacts, observed
from tests.support.neutron_router import Steady, totals
from tests.support.neutron_server import NeutronServer
from tests.support.processes import Agent, Dataplane
from tests.support.rabbit import Rabbit
from tests.support.sandbox import Sandbox
from tests.support.states import key, namespace
from tests.support.traffic import Traffic

RECORDED = Path(__file__).parent / "upgrade"
RELEASES = sorted(path.name for path in RECORDED.iterdir() if (path / "build.sh").exists())
STATE_FILES = ("l3-agent-routers.jsonl", "l3-agent-paused.json")

VM, LEAVING, FLOATING, OUTSIDE = (f"l3host-ha000000{number}" for number in (1, 2, 3, 4))
OUTSIDE_IP, OUTSIDE_IPV6, FLOATING_IP, REMOVED_IP = "203.0.113.1", "2001:db8:ffff::1", "203.0.113.222", "203.0.113.7"


class Node:
    """A node on which an earlier release ran: its kernel state, its files; nothing of it runs.

    :ivar captured: the captured router.
    :ivar paused: the router that an operator has paused, and changed.
    """

    def __init__(self, sandbox: Sandbox, folder: Path, broker: Rabbit, release: str) -> None:
        self.sandbox = sandbox
        self._recorded = RECORDED / release
        self.machine = Dataplane(sandbox, folder)
        self.agent = Agent(folder, {})
        for name in ("l3-agent.conf", "dataplane.conf"):
            text = (self._recorded / name).read_text().replace("$FOLDER", str(folder)).replace("$BROKER", broker.url)
            (folder / name).write_text(with_new_names(text))
        for name in STATE_FILES:
            (folder / name).write_bytes((self._recorded / name).read_bytes())
        lines = (self._recorded / STATE_FILES[0]).read_text().splitlines()[1:]
        self.payloads = {payload["id"]: payload for payload in map(json.loads, lines)}
        (paused,) = json.loads((self._recorded / STATE_FILES[1]).read_text())
        (captured,) = self.payloads.keys() - {paused}
        self.captured, self.paused = (desired_state(self.payloads[one]) for one in (captured, paused))
        self.type("build.sh")
        self.type("paused.sh")

    def type(self, script: str) -> None:
        """Type recorded lines."""
        text = (self._recorded / script).read_text()
        self.sandbox.run(["sh", "-e", "-c", text], timeout=120)

    def steady(self) -> Steady:
        """Return traffic of each kind: translated in each way, and IPv6."""
        ways = [(VM, OUTSIDE_IP), (FLOATING, OUTSIDE_IP), (OUTSIDE, FLOATING_IP), (VM, FLOATING_IP)]
        pings = [*ways, (VM, OUTSIDE_IPV6)]
        clients = [(kind, name, to) for kind in ("stream", "connections", "datagrams") for name, to in ways]
        for name, to in pings:
            # Devices and neighbours of a state that was made just now settle before the release matters.
            self.sandbox.run(["ping", "-n", "-c", "1", "-i", "0.1", "-w", "30", to], netns=name)
        return Steady(self.sandbox, [OUTSIDE, FLOATING], clients, pings)

    def entries_of_removed(self) -> str:
        """Return the conntrack entries of the floating IP that was being removed."""
        return self.sandbox.run(["conntrack", "-L", "--orig-dst", REMOVED_IP], netns=namespace(self.captured))

    def journal(self) -> list[object]:
        """Return the pending conntrack deletions."""
        found = self.sandbox.json("nft -j list set ip l3agent pending_flush", netns=namespace(self.captured))
        (journal,) = (one["set"] for one in found["nftables"] if "set" in one)
        return list(journal.get("elem", []))

    def state_of_paused(self) -> list[str]:
        """Return all of the paused router that a release could touch, with its outer devices."""
        inside = ("ip -d link", "ip address", "ip route show table all", "ip -6 route", "nft -s list ruleset")
        found = [self.sandbox.run(command.split(), netns=namespace(self.paused)) for command in inside]
        for port in sorted(self.paused.all_ports(), key=lambda one: one.id):
            outer = f"tap{port.id[:11]}"
            # Without its details, among which are the running timers of a bridge's port.
            found.append(self.sandbox.run(["ip", "link", "show", outer]))
            found.append(self.sandbox.run(["sysctl", "-a", "-r", f"net.ipv[46].conf.{outer}"]))
        return found


def with_new_names(text: str) -> str:
    """Return a configuration with the options that were renamed under their new names, as an operator changes it."""
    parser = RawConfigParser(default_section="", strict=False)
    parser.read_string(text)
    lines: dict[str, list[str]] = {}
    for section in parser.sections():
        for name, value in parser.items(section):
            group, option = RENAMED_OPTS.get((section, name), (section, name))
            lines.setdefault(group, []).append(f"{option} = {value}")
    return "\n".join("\n".join([f"[{group}]", *options, ""]) for group, options in lines.items())


@pytest.fixture(params=RELEASES)
def node(request: pytest.FixtureRequest, sandbox: Sandbox, folder: Path, rabbit: Rabbit) -> Iterator[Node]:
    node = Node(sandbox, folder, rabbit, request.param)
    yield node
    node.machine.hang_up()
    node.agent.kill()
    for log in (node.machine.log, node.agent.log):
        print(f"--- {log.name}\n{log.read_text(errors='replace') if log.exists() else ''}")


@pytest.mark.feature("operation.upgrade")
@pytest.mark.parametrize("first", ["agent", "dataplane"])
def test_a_release_takes_over_what_the_one_before_left_and_no_packet_is_lost(
    node: Node, rabbit: Rabbit, expected: RouterFacts, first: str
) -> None:
    server = NeutronServer(rabbit.url, HOST, node.payloads.values())
    with node.steady() as steady, Traffic(node.sandbox) as traffic:
        traffic.listen(LEAVING)
        leaving = traffic.connect(OUTSIDE, REMOVED_IP)
        node.type("interrupted.sh")
        assert node.entries_of_removed() and node.journal()
        before = node.state_of_paused()
        steady.goes_on()
        start_both(node, first, steady)
        # No server answers yet: this is from the file of the last known routers.
        node.agent.wait_for(lambda status: served(status, node.captured.id), timeout=60)
        steady.goes_on()
        wait_until(lambda: not node.journal(), timeout=30)
        assert node.entries_of_removed() == ""
        assert traffic.dead(leaving)
        server.start()
        try:
            status = node.agent.wait_for(in_sync, timeout=60)
            steady.goes_on()
        finally:
            server.stop()
        nothing_is_lost(steady)
    assert_same(observed(node.sandbox, namespace(node.captured)), expected)
    assert status["paused"] == [node.paused.id]
    assert node.state_of_paused() == before
    # The next one finds nothing to do, and a paused router is repaired as soon as it is resumed.
    node.agent.ask("resume", router=node.paused.id)
    address = "203.0.113.20"
    wait_until(lambda: address in node.sandbox.run(["ip", "address"], netns=namespace(node.paused)), timeout=60)
    assert node.agent.end() == 0
    for state in (node.captured, node.paused):
        (report,) = node.machine.reconcile((key(state), state), dry_run=True)
        assert (report.error, report.operations) == (None, ())


def start_both(node: Node, first: str, steady: Steady) -> None:
    """Start the new agent and the new data plane, under traffic, the second when the first one is at work."""
    if first == "dataplane":
        node.machine.start()
        steady.goes_on()
        node.agent.start()
        return
    node.agent.start()
    status = node.agent.wait_for(lambda status: status["dataplane"]["reason"], timeout=60)
    assert not status["dataplane"]["connected"]
    steady.goes_on()
    node.machine.start()


def served(status: dict[str, Any], router_id: str) -> bool:
    router = status["routers"].get(router_id)
    return router is not None and router["state"] == "active"


def in_sync(status: dict[str, Any]) -> bool:
    """Return True if a full sync is complete and only the paused router has an update that waits."""
    queue = status["queue"]
    return bool(status["in_sync"]) and not (queue["waiting"] or queue["processing"] or queue["retrying"])


def nothing_is_lost(steady: Steady) -> None:
    counts = steady.counts()
    print(f"sent: {totals(counts)}; pings answered: {steady.answered()}")
    assert {(one["lost"], one["again"]) for one in counts.values()} == {(0, 0)}, counts
    assert steady.unanswered() == [set()] * 5


@pytest.mark.parametrize("release", RELEASES)
def test_every_option_of_a_release_is_known_or_renamed(release: str) -> None:
    """An option that is neither would be ignored without a word."""
    known = {f"[{group or 'DEFAULT'}] {opt.dest}" for group, opts in list_opts() for opt in opts}
    renamed = {f"[{group}] {name}" for group, name in RENAMED_OPTS}
    assert set((RECORDED / release / "options.txt").read_text().splitlines()) <= known | renamed
