# SPDX-License-Identifier: Apache-2.0
"""The backends: which kinds each owns, and the order of their parts of a plan."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from eventlet.patcher import original

from l3agent.dataplane import backend
from l3agent.dataplane.backend import Backends
from l3agent.dataplane.kernel_backend.backend import KernelBackend
from l3agent.dataplane.ovsdb.backend import OvsdbBackend
from l3agent.dataplane.ovsdb.ports import Changes
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.observation import AllChanged
from l3agent.dataplane.plan.kinds.switch_port import OWNER, PortEvent, SwitchPort
from l3agent.dataplane.plan.order import KINDS

NAMESPACE = Namespace("qrouter-1")
PORT = SwitchPort("qr-1", "br-int", "internal", frozenset({(OWNER, "1")}), True)


class Kernel:
    """Stands for the kernel: it has no part that another test does not cover with the real one."""

    descriptors = ()
    owns = KernelBackend.owns

    def events(self) -> Iterator[Any]:
        yield from ()


class Database:
    """Has changes to report."""

    def __init__(self, changes: Changes) -> None:
        self.changes, self.descriptor = changes, os.eventfd(1, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def read_changes(self) -> Changes:
        return self.changes

    def port(self, name: str) -> None:
        return None


@pytest.fixture(autouse=True)
def _not_patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the data plane the module that it has in its process, which is never patched."""
    monkeypatch.setattr(backend, "select", original("select"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_one_backend(kind: type[Entry]) -> None:
    assert (kind in KernelBackend.owns) + (kind in OvsdbBackend.owns) == 1


def test_ports_come_before_the_links_that_need_them_and_go_after_them() -> None:
    switch = OvsdbBackend(Database(Changes()), {"br-int"})  # type: ignore[arg-type]
    backends = Backends(Kernel(), [switch])  # type: ignore[arg-type]
    added, removed = diff({NAMESPACE, PORT}, {NAMESPACE}), diff({NAMESPACE}, {NAMESPACE, PORT})
    assert (backends.before_kernel(added), backends.after_kernel(added)) == ([switch], [])
    assert (backends.before_kernel(removed), backends.after_kernel(removed)) == ([], [switch])
    other = diff({NAMESPACE}, ())
    assert backends.before_kernel(other) == backends.after_kernel(other) == []
    assert [one.entry for one in added.without_kinds(backends.owned_by_others)] == []


def test_changes_of_the_database_are_events() -> None:
    def events(changes: Changes) -> list[Any]:
        return list(Backends(Kernel(), [OvsdbBackend(Database(changes), {"br-int"})]).events())  # type: ignore[arg-type]

    assert events(Changes(frozenset({"qr-1"}))) == [(None, PortEvent("qr-1", None))]
    assert events(Changes(frozenset({"qr-1"}), all=True)) == [(None, AllChanged())]
    # A bridge of ours concerns all states; that of a trunk port none.
    assert events(Changes(frozenset({"qr-1"}), frozenset({"br-int"}))) == [(None, AllChanged())]
    assert events(Changes(frozenset({"tbr-1"}), frozenset({"tbr-1"}))) == [(None, PortEvent("tbr-1", None))]


def test_a_port_event_names_the_router_that_the_port_is_marked_with() -> None:
    assert PortEvent("qr-1", PORT).owner == "1"
    assert PortEvent("qr-1", None).owner is None
