# SPDX-License-Identifier: Apache-2.0
"""Run as a script, as root: record what a release leaves behind, for tests/functional/test_upgrade.py.

    PYTHONPATH=CHECKOUT python tests/functional/upgrade/record.py DIRECTORY

CHECKOUT is the release to record; its code and its tests' helpers are used, so this script must work with each. Needs
RabbitMQ. Record a release into a directory of its version when it is final. It writes into DIRECTORY:

``build.sh``        the typed plans of two routers and of four hosts beside them, on an empty machine
``interrupted.sh``  the typed removal of a floating IP up to the deletion of its conntrack entries, where the data
                    plane was killed
``paused.sh``       what an operator changed in the paused router
``*.conf``          configuration; ``$FOLDER`` and ``$BROKER`` stand for the state directory and the transport URL
``*.json*``         the state files of the agent
``options.txt``     every option of the release
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

# isort: split
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from l3agent.conf import list_opts
from l3agent.model.states import NamespaceState
from l3agent.testing import wait_until
from tests.support.cloud import options
from tests.support.neutron_server import NeutronServer
from tests.support.payloads import a_floating_ip, a_port, a_router, legacy_payload
from tests.support.processes import Agent, Dataplane
from tests.support.rabbit import Rabbit
from tests.support.sandbox import Sandbox
from tests.support.states import desired_namespace, host, key, namespace

#: A floating IP of the captured router that is removed while the data plane is killed.
REMOVED = a_floating_ip("203.0.113.7", "10.0.0.78")
#: The port ids of the hosts begin at a0000001.
PAUSED = a_router(_interfaces=[a_port(256)], _floatingips=[a_floating_ip("203.0.113.20", "10.0.0.5")])
STATE_FILES = ("l3-agent-routers.jsonl", "l3-agent-paused.json")


def main() -> None:
    """Record a release."""
    directory, folder = Path(sys.argv[1]), Path(tempfile.mkdtemp(prefix="l3-"))
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with Sandbox() as sandbox:
            machine = Dataplane(sandbox, folder)
            machine.start()
            record_kernel(machine, directory)
            record_agent(machine, folder, directory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = sorted(f"[{group or 'DEFAULT'}] {opt.dest}\n" for group, opts in list_opts() for opt in opts)
    (directory / "options.txt").write_text("".join(names))


def record_kernel(machine: Dataplane, directory: Path) -> None:
    """Record plans, each on the machine that the plans before it have made."""
    captured = legacy_payload()
    before = desired_namespace(captured | {"_floatingips": [*captured["_floatingips"], REMOVED]})
    after, paused = desired_namespace(captured), desired_namespace(PAUSED)
    (blue,) = {one.network_id for one in after.ports}
    default, default6 = {"0.0.0.0/0": "10.0.0.1"}, {"::/0": "2001:db8:1::"}
    states = [
        host(blue, "10.0.0.77/24", "2001:db8:1::77/64", routes=default | default6),
        host(blue, "10.0.0.78/24", routes=default),
        host(blue, "10.0.0.215/24", routes=default),
        host(
            after.gateway.network_id,
            "203.0.113.1/24",
            "2001:db8:ffff::1/64",
            routes={"2001:db8:1::/64": "2001:db8:ffff::1da"},
        ),
        before,
        paused,
    ]
    lines: list[str] = []
    for state in states:
        lines += plan(machine, state)
        (report,) = machine.reconcile((key(state), state))
        assert report.error is None
    write(directory / "build.sh", lines)
    removal = plan(machine, after)
    deletion = next(n for n, line in enumerate(removal) if " conntrack -D " in line)
    write(directory / "interrupted.sh", removal[:deletion])
    address = f"address delete 203.0.113.20/32 dev {paused.gateway.device}"
    write(directory / "paused.sh", [f"ip -n {namespace(paused)} {address}"])


def plan(machine: Dataplane, state: NamespaceState) -> tuple[str, ...]:
    """Return the typed plan of a state."""
    (report,) = machine.reconcile((key(state), state), dry_run=True)
    assert report.error is None
    return report.operations


def write(path: Path, lines: Iterable[str]) -> None:
    """Write lines."""
    path.write_text("".join(f"{line}\n" for line in lines))


def record_agent(machine: Dataplane, folder: Path, directory: Path) -> None:
    """Record the files of an agent that serves both routers, of which one is paused."""
    machine.hang_up()
    broker = Rabbit(Path(tempfile.mkdtemp(prefix="l3-rabbit-")))
    broker.start()
    try:
        server = NeutronServer(broker.url, "node1", [legacy_payload(), PAUSED])
        server.start()
        agent = Agent(folder, options(broker, machine, folder))
        agent.start()
        agent.wait_in_sync()
        agent.ask("pause", router=PAUSED["id"])
        routers = folder / STATE_FILES[0]
        wait_until(lambda: routers.exists() and len(routers.read_text().splitlines()) == 3, timeout=30)
        agent.end()
        server.stop()
        for name in STATE_FILES:
            (directory / name).write_bytes((folder / name).read_bytes())
        for name in ("l3-agent.conf", "dataplane.conf"):
            text = (folder / name).read_text().replace(str(folder), "$FOLDER").replace(broker.url, "$BROKER")
            # The data plane was told of a topology file to build the hosts.
            write(directory / name, (line for line in text.splitlines() if "topology" not in line))
    finally:
        broker.close()


if __name__ == "__main__":
    main()
