# SPDX-License-Identifier: Apache-2.0
"""The handle of a namespace is fixed; its cache alone changes what is known of the content."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from l3agent.dataplane.kernel.namespace_cache import NamespaceCache
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.netns import own_namespace
from l3agent.dataplane.kernel.setting_files import SettingFiles
from l3agent.dataplane.kernel.sockets import NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.observation import Dump
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.order import RARE_DUMPS


@pytest.fixture
def handle() -> Iterator[NamespaceHandle]:
    """A handle of the namespace of this process."""
    sockets = NetlinkSocket(NETLINK_ROUTE), NetlinkSocket(NETLINK_NETFILTER)
    handle = NamespaceHandle("qrouter-1", own_namespace(), (0, 0), *sockets, NamespaceCache())
    yield handle
    handle.close()


@pytest.mark.parametrize("field", ["name", "fd", "cache", "is_found", "has_ipv6", "nsid", "preset"])
def test_no_field_of_a_handle_is_written_from_outside(handle: NamespaceHandle, field: str) -> None:
    with pytest.raises((AttributeError, TypeError)):
        setattr(handle, field, None)


@pytest.mark.parametrize("field", ["has_ipv6", "is_newly_adopted", "nsid", "rare_dumps", "rules", "next_index"])
def test_no_field_of_a_cache_is_written_from_outside(field: str) -> None:
    with pytest.raises(AttributeError):
        setattr(NamespaceCache(), field, None)


def test_a_preset_and_an_index_are_popped_once() -> None:
    preset = frozenset({Namespace("qrouter-1", loopback=True)})
    cache = NamespaceCache(preset=preset, next_index=5)
    assert (cache.pop_preset(), cache.pop_next_index()) == (preset, 5)
    assert (cache.pop_preset(), cache.pop_next_index()) == (frozenset(), None)


def test_an_adopted_namespace_is_announced_once_and_may_have_all_entries() -> None:
    cache = NamespaceCache(is_adopted=True)
    assert cache.rare_dumps() == list(RARE_DUMPS)
    assert cache.is_newly_adopted
    assert cache.mark_announced()
    assert not cache.is_newly_adopted
    assert not cache.mark_announced()


def test_rare_dumps_are_returned_in_the_order_of_the_kinds() -> None:
    cache = NamespaceCache()
    assert cache.rare_dumps() == []
    cache.add_rare_dumps(set(RARE_DUMPS))
    cache.discard_rare_dump(RARE_DUMPS[0])
    assert cache.rare_dumps() == list(RARE_DUMPS[1:])


def test_links_are_parsed_when_they_change(handle: NamespaceHandle) -> None:
    first = handle.read_links()
    data = handle.route.dump(rtnl.dump_links())
    assert handle.cache.parse_links(data) is handle.cache.parse_links(data)
    assert {one.name for one in first} == {one.name for one in handle.read_links()}
    assert handle.cache.has_ipv6 == any(one.index == rtnl.LOOPBACK and one.has_ipv6 for one in first)
    handle.cache.parse_links(b"")
    assert not handle.cache.has_ipv6


def test_a_dump_is_parsed_when_its_bytes_or_the_names_of_devices_change() -> None:
    parsed = []
    dump = Dump(b"", lambda data, names: frozenset({(data, parsed.append(names))}))
    cache = NamespaceCache()
    for data, names in ((b"a", {1: "lo"}), (b"a", {1: "lo"}), (b"b", {1: "lo"}), (b"b", {2: "lo"})):
        assert cache.parse(dump, names, data) == {(data, None)}
    assert parsed == [{1: "lo"}, {1: "lo"}, {2: "lo"}]
    cache.clear()
    cache.parse(dump, {2: "lo"}, b"b")
    assert len(parsed) == 4


def test_rules_are_known_for_their_generation_only() -> None:
    cache, rules = NamespaceCache(), frozenset({Namespace("qrouter-1", loopback=True)})
    assert cache.find_rules(1) is None
    cache.record_rules(1, rules)
    assert cache.find_rules(1) == rules
    assert cache.find_rules(2) is None
    cache.record_rules(None, rules)
    assert cache.find_rules(None) is None
    cache.record_rules(1, rules)
    cache.clear()
    assert cache.find_rules(1) is None


def test_missing_ipv6_is_reported_once_and_its_return_once() -> None:
    cache = NamespaceCache()
    assert [cache.record_ipv6_missing(one) for one in (False, True, True, False, False)] == [
        False,
        True,
        False,
        True,
        False,
    ]


def test_files_of_settings_are_read_where_they_are_open() -> None:
    files, there, absent = SettingFiles(), Sysctl("kernel/osrelease", os.uname().release), Sysctl("kernel/none", "1")
    assert files.missing([there, absent]) == [there.path, absent.path]
    files.add(there.path, os.open(f"/proc/sys/{there.path}", os.O_RDONLY | os.O_CLOEXEC))
    assert files.missing([there, absent]) == [absent.path]
    assert files.are_set([there, absent])
    assert not files.are_set([Sysctl(there.path, "0")])
    (descriptor,) = files.descriptors
    files.close()
    assert not files.descriptors
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
