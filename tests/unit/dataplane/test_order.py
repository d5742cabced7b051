# SPDX-License-Identifier: Apache-2.0
"""The order table has all kinds, and what the kinds declare does not clash."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from l3agent.dataplane.netlink import addresses, routes
from l3agent.dataplane.plan import kinds
from l3agent.dataplane.plan.kinds.base import Entry, NodeEntry
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.order import COMMON_DUMPS, KINDS, RARE_DUMPS, REMOVED, needed_dumps
from tests.unit.dataplane.test_diff import ROUTER, rendered


def test_each_kind_has_a_row() -> None:
    modules = [import_module(f"{kinds.__name__}.{one.name}") for one in pkgutil.iter_modules(kinds.__path__)]
    found = {
        one
        for module in modules
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Entry) and one not in (Entry, NodeEntry)
    }
    assert found == set(KINDS)
    assert set(REMOVED) == found - {one for one in found if one.is_kernel_made}


def test_names_and_notifications_of_kinds_differ() -> None:
    notifications = [one.notification for one in KINDS if one.notification is not None]
    for names in ([one.kind for one in KINDS], [one.message for one in notifications]):
        assert len(names) == len(set(names))
    groups = [group for one in notifications for group in one.groups]
    assert len(groups) == len(set(groups))


def test_a_legacy_router_needs_three_dumps() -> None:
    requests = {dump.request for _, dump in COMMON_DUMPS}
    assert requests == {addresses.dump_addresses(), routes.dump_routes(4), routes.dump_routes(6)}
    assert needed_dumps(rendered(ROUTER)) == set()
    assert requests.isdisjoint(dump.request for _, dump in RARE_DUMPS)


class Counted(frozenset[Entry]):
    """Entries that count how often they are read."""

    reads = 0

    def __iter__(self) -> Iterator[Entry]:
        self.reads += 1
        return super().__iter__()


def test_entries_without_rare_kinds_are_read_once() -> None:
    counted = Counted(one for one in rendered(ROUTER) if not isinstance(one, KernelRoute))
    assert needed_dumps(counted) == set()
    assert counted.reads == 1
