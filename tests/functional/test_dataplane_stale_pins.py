# SPDX-License-Identifier: Apache-2.0
"""Objects that other programs leave in the place of a namespace never block a router.

The process has the capabilities that the systemd unit gives it, so it may not read a file of mode 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from l3agent.model.states import NamespaceState
from tests.support.processes import Dataplane, a_machine
from tests.support.states import key, namespace, new_id, port, router

UNIT = Path(__file__).parents[2] / "etc" / "systemd" / "l3-dataplane.service"

#: How each comes about, by what it is; ``$PIN`` is the path of the namespace, ``$OTHER`` that of another one.
KINDS = {
    "a file of mode 0 of ip-netns": 'ip netns add "${PIN##*/}"; umount "$PIN"; test "$(stat -c %a "$PIN")" = 0',
    "a file of mode 0 of another user": 'touch "$PIN"; chmod 0 "$PIN"; chown 12345:12345 "$PIN"',
    "a directory": 'mkdir "$PIN"; chmod 0 "$PIN"',
    "a directory with content": 'mkdir -p "$PIN/sub"; touch "$PIN/sub/file"',
    "a link that leads nowhere": 'ln -s /nowhere "$PIN"',
    "a link to another namespace": 'ln -s "$OTHER" "$PIN"',
    "a pipe, which blocks who opens it": 'mkfifo -m 0 "$PIN"',
    "a namespace of another kind": 'touch "$PIN"; mount --bind /proc/self/ns/uts "$PIN"',
    "a file with a file system on it": 'mkdir "$PIN"; mount -t tmpfs tmpfs "$PIN"; mount -t tmpfs tmpfs "$PIN"',
}


@pytest.fixture(scope="module")
def restricted() -> Iterator[Dataplane]:
    """A data plane that was started with the capabilities of the unit; the namespace ``other`` is there."""
    with a_machine() as machine:
        machine.stop()
        machine.start("setpriv", f"--bounding-set=-all,{','.join(_capabilities())}", "--no-new-privs")
        machine.sandbox.run(["ip", "netns", "add", "other"])
        yield machine


def _capabilities() -> list[str]:
    lines = re.findall(r"^CapabilityBoundingSet=(.*)$", UNIT.read_text(), re.MULTILINE)
    return [f"+{name.removeprefix('CAP_').lower()}" for line in lines for name in line.split()]


def test_the_process_may_not_read_such_files(restricted: Dataplane) -> None:
    # It listens before it gives up the right to read its configuration, and answers afterwards.
    restricted.request("stats", {})
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{restricted.pid}/status").read_text().splitlines())
    dac_override, dac_read_search = 1, 2
    assert not int(status["CapEff"], 16) & (1 << dac_override | 1 << dac_read_search)


@pytest.mark.feature("router.blocked-namespace")
@pytest.mark.parametrize("kind", KINDS)
def test_a_router_is_built_in_its_place_and_removed(restricted: Dataplane, kind: str) -> None:
    state = router(port(new_id(), "10.0.0.1/24"))
    _leave(restricted, state, kind)
    _reconcile(restricted, state, state)
    _is_built(restricted, state)
    # The same while the router is served: another program removes the namespace and leaves something else.
    with restricted.paused():
        restricted.sandbox.run(["ip", "netns", "delete", namespace(state)])
        _leave(restricted, state, kind)
    _reconcile(restricted, state, state)
    _is_built(restricted, state)
    _reconcile(restricted, state, None)
    assert namespace(state) not in restricted.sandbox.namespaces()
    # What is left of a router that is not served goes with it.
    _leave(restricted, state, kind)
    _reconcile(restricted, state, None)
    assert namespace(state) not in restricted.sandbox.namespaces()
    restricted.sandbox.run(["ip", "-n", "other", "link", "show", "lo"])


def test_a_namespace_of_ip_netns_is_adopted_and_removed_with_all_its_mounts(restricted: Dataplane) -> None:
    state = router(port(new_id(), "10.0.0.1/24"))
    pin = f"/run/netns/{namespace(state)}"
    restricted.sandbox.run(["ip", "netns", "add", namespace(state)])
    restricted.sandbox.run(["ip", "-n", namespace(state), "link", "add", "foreign", "type", "bridge"])
    restricted.sandbox.run(["mount", "--bind", pin, pin])
    _reconcile(restricted, state, state)
    restricted.sandbox.run(["ip", "-n", namespace(state), "link", "show", "foreign"])
    _is_built(restricted, state)
    _reconcile(restricted, state, None)
    assert namespace(state) not in restricted.sandbox.namespaces()


def test_the_content_of_a_directory_is_kept(restricted: Dataplane) -> None:
    state = router(port(new_id(), "10.0.0.1/24"))
    _leave(restricted, state, "a directory with content")
    _reconcile(restricted, state, state)
    _is_built(restricted, state)
    (aside,) = re.findall(rf"\S*/\.stale-{namespace(state)}-\w+", restricted.log.read_text())
    restricted.sandbox.run(["test", "-f", f"{aside}/sub/file"])


def test_a_dry_run_removes_nothing(restricted: Dataplane) -> None:
    state = router(port(new_id(), "10.0.0.1/24"))
    _leave(restricted, state, "a directory")
    for wanted in (state, None):
        (report,) = restricted.reconcile((key(state), wanted), dry_run=True)
        assert report.error is None
    assert namespace(state) in restricted.sandbox.namespaces()


def _leave(machine: Dataplane, state: NamespaceState, kind: str) -> None:
    places = [f"PIN=/run/netns/{namespace(state)}", "OTHER=/run/netns/other"]
    machine.sandbox.run(["env", *places, "sh", "-ec", KINDS[kind]])


def _reconcile(machine: Dataplane, state: NamespaceState, wanted: NamespaceState | None) -> None:
    (report,) = machine.reconcile((key(state), wanted))
    assert report.error is None


def _is_built(machine: Dataplane, state: NamespaceState) -> None:
    links = machine.sandbox.json("ip -j -4 address show", netns=namespace(state))
    found = {one["local"] for link in links for one in link.get("addr_info", ())}
    assert "10.0.0.1" in found
    (report,) = machine.reconcile((key(state), state))
    assert (report.error, report.operations) == (None, ())
