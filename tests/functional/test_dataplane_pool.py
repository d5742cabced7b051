# SPDX-License-Identifier: Apache-2.0
"""Namespaces that are ready before a router needs one."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from l3agent.testing import wait_until
from tests.functional.test_dataplane_changes import leftovers
from tests.functional.test_dataplane_drift import a_world
from tests.support.processes import Dataplane
from tests.support.sandbox import Sandbox
from tests.support.states import namespace, tap

_SIZE = 5

pytestmark = pytest.mark.kernel


@pytest.fixture
def pooling(sandbox: Sandbox, folder: Path) -> Dataplane:
    dataplane = Dataplane(sandbox, folder, pool_size=_SIZE)
    dataplane.start()
    return dataplane


def ready(dataplane: Dataplane) -> int:
    """Return how many namespaces the process has open besides pinned ones and its own."""
    folder = Path(f"/proc/{dataplane.pid}/fd")
    found = set[str]()
    for one in folder.iterdir():
        with suppress(OSError):  # it may be closed meanwhile
            found.add(os.readlink(one))
    return len({one for one in found if one.startswith("net:")}) - len(dataplane.sandbox.namespaces()) - 1


def test_the_pool_is_filled_without_names_and_filled_again(pooling: Dataplane) -> None:
    wait_until(lambda: ready(pooling) == _SIZE, timeout=10)
    assert pooling.sandbox.namespaces() == set()
    world = a_world(pooling)
    world.reconcile()
    assert pooling.sandbox.namespaces() == {namespace(world.state)}
    wait_until(lambda: ready(pooling) == _SIZE, timeout=10)
    pooling.hang_up()


def test_a_router_from_the_pool_equals_one_without_and_has_the_same_report(pooling: Dataplane) -> None:
    wait_until(lambda: ready(pooling) == _SIZE, timeout=10)
    world = a_world(pooling)
    operations, pooled = world.reconcile(), world.everything()
    assert world.reconcile() == ()
    pooling.reconcile((("router", world.state.id), None))
    wait_until(lambda: not leftovers(pooling, world.state), timeout=10)
    assert pooling.stop() == 0
    plain = Dataplane(pooling.sandbox, pooling.log.parent, pool_size=0)
    plain.start()
    world.machine = plain
    assert world.reconcile() == operations
    assert world.everything() == pooled
    assert ready(plain) == 0
    plain.hang_up()


def test_more_routers_than_are_ready_are_built_at_once(pooling: Dataplane) -> None:
    worlds = [a_world(pooling) for _ in range(3 * _SIZE)]
    reports = pooling.reconcile(*((("router", one.state.id), one.state) for one in worlds))
    assert [one.error for one in reports] == [None] * len(worlds)
    assert pooling.sandbox.namespaces() == {namespace(one.state) for one in worlds}
    assert all(one.reconcile() == () for one in worlds)
    pooling.hang_up()


# A process that may make namespaces and may change nothing inside.
_WITHOUT_NET_ADMIN = """
import os, time
from l3agent.dataplane.kernel import namespace_pool as pool, syscalls
from l3agent.dataplane.kernel.closer import DeferredCloser
syscalls.keep_capabilities(frozenset((21,)))
pool._PAUSE_S = 0.02
tries = []
pool.LOG.warning = lambda *words: tries.append(str(words))
def descriptors():
    found = []
    for one in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{one}").partition(":")[0])
        except FileNotFoundError:
            pass
    return found.count("net"), found.count("socket")
pool.NamespacePool(2, frozenset(), DeferredCloser())
deadline = time.monotonic() + 15
while len(tries) < 20 and time.monotonic() < deadline:
    time.sleep(0.05)
assert len(tries) >= 20 and "not permitted" in tries[0], tries
while (found := descriptors()) != (1, 0) and time.monotonic() < deadline:
    time.sleep(0.001)
print(*found)
"""


def test_what_cannot_be_made_ready_leaves_no_namespace_open(sandbox: Sandbox) -> None:
    # Between two tries it has its own namespace open and no socket.
    assert sandbox.run([sys.executable, "-c", _WITHOUT_NET_ADMIN]) == "1 0\n"


def test_a_namespace_ready_for_a_router_keeps_nothing_alive_when_its_router_goes(pooling: Dataplane) -> None:
    world = a_world(pooling)
    world.reconcile()
    pooling.reconcile((("router", world.state.id), None))
    links = lambda: {one["ifname"] for one in pooling.sandbox.json("ip -j link")}  # noqa: E731
    wait_until(lambda: tap(world.inner) not in links(), timeout=10)
    pooling.hang_up()
