# SPDX-License-Identifier: Apache-2.0
"""A service of two workers over RabbitMQ whose process group gets a signal during a call.

``python -m tests.support.workers URL`` is the program: a service on the topic ``workers``. Before it forks,
it uses its transport, by a call to the topic ``peer``. ``python -m tests.support.workers --times 20`` runs
it 20 times for each signal, with a broker of its own, and prints the result of each call.
"""

from __future__ import annotations

import warnings

warnings.simplefilter("ignore")

import eventlet  # noqa: E402

eventlet.monkey_patch()

import argparse  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from contextlib import suppress  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from oslo_config import cfg  # noqa: E402

from l3agent.exceptions import ServerUnavailable  # noqa: E402
from l3agent.rpc import Client, Connection, RemoteError, Target, admin_context, get_transport  # noqa: E402
from l3agent.service import Manager, Service, launch  # noqa: E402
from l3agent.testing import wait_until  # noqa: E402
from tests.support.rabbit import Rabbit  # noqa: E402

TOPIC, PEER_TOPIC = "workers", "peer"
SIGNALS = (signal.SIGTERM, signal.SIGINT)
WORKERS = 2
_DEADLINE_S = 60


class Working(Manager):
    """The endpoint of each worker."""

    target = Target(version="1.0")
    transport: Any = None

    def work(self, context: Any, seconds: float) -> int:
        """Sleep; return the process id."""
        Client(self.transport, PEER_TOPIC, timeout=_DEADLINE_S).call(admin_context(), "begun", pid=os.getpid())
        eventlet.sleep(seconds)
        return os.getpid()


def program(url: str) -> int:
    """Run the service."""
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    transport = get_transport(conf, url)
    Client(transport, PEER_TOPIC, timeout=_DEADLINE_S).call(admin_context(), "begun", pid=os.getpid())
    service = Service.create(binary=TOPIC, manager=Working, conf=conf, host="node1", transport=transport)
    service.manager.transport = transport
    return launch(conf, service, WORKERS).wait()


class Peer:
    """The peer: endpoint and client of the program."""

    target = Target(version="1.0")

    def __init__(self, url: str) -> None:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
        self.begun_by: list[int] = []
        self.transport = get_transport(conf, url)
        self.connection = Connection(self.transport, host="peer")
        self.connection.create_consumer(PEER_TOPIC, [self])
        self.connection.consume_in_threads()
        self.client = Client(self.transport, TOPIC, timeout=_DEADLINE_S)

    def begun(self, context: Any, pid: int) -> None:
        """Record that a process uses its transport."""
        self.begun_by.append(pid)

    def close(self) -> None:
        """Disconnect from the broker."""
        self.connection.close()
        with eventlet.Timeout(10, False):
            self.transport.cleanup()


@dataclass
class Run:
    """Results of the calls of one run."""

    status: int
    answers: list[int] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def well(self) -> bool:
        """Return True if each call was answered and the program ended well."""
        return self.status == 0 and not self.lost


def signal_during_calls(url: str, peer: Peer, number: signal.Signals, *, calls: int = 1) -> Run:
    """Start the program, send a signal to its process group while calls are in progress, and wait for both."""
    process = subprocess.Popen([sys.executable, "-m", "tests.support.workers", url], start_new_session=True)
    try:
        run = Run(-1)
        wait_until(lambda: process.pid in peer.begun_by, timeout=_DEADLINE_S)  # it uses its transport before the fork
        wait_until(lambda: _works(peer), timeout=_DEADLINE_S)
        before = len(peer.begun_by)
        calling = [eventlet.spawn(_call, peer, run) for _ in range(calls)]
        wait_until(lambda: len(peer.begun_by) == before + calls, timeout=_DEADLINE_S)
        os.killpg(process.pid, number)
        for greenthread in calling:
            greenthread.wait()
        with eventlet.Timeout(_DEADLINE_S, TimeoutError("the program still runs")):
            run.status = process.wait()
        return run
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _works(peer: Peer) -> bool:
    """Return True once both workers have answered."""
    with suppress(ServerUnavailable):
        peer.client.call(admin_context(), "work", seconds=0, timeout=5)
    return len(set(peer.begun_by[-2 * WORKERS :])) >= WORKERS and len(peer.begun_by) > WORKERS


def _call(peer: Peer, run: Run) -> None:
    try:
        run.answers.append(peer.client.call(admin_context(), "work", seconds=1, timeout=30))
    except (ServerUnavailable, RemoteError) as error:
        run.lost.append(str(error))


def main() -> int:
    """Run the program or the test, depending on the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", help="be the program, over this broker")
    parser.add_argument("--times", type=int, default=20, help="runs of each signal (default: %(default)s)")
    options = parser.parse_args()
    if options.url:
        return program(options.url)
    node, runs = Rabbit(Path(tempfile.mkdtemp(prefix="l3-workers-"))), list[Run]()
    try:
        node.start()
        peer = Peer(node.url)
        for number in SIGNALS * options.times:
            began = time.monotonic()
            runs.append(signal_during_calls(node.url, peer, number))
            print(f"{number.name}: {runs[-1]}, {time.monotonic() - began:.1f} s", flush=True)
        peer.close()
    finally:
        node.close()
    print(f"{sum(run.well for run in runs)} of {len(runs)} runs: each call answered, exit status 0")
    return 0 if all(run.well for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
