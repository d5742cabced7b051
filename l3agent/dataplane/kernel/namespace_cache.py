# SPDX-License-Identifier: Apache-2.0
"""Cache of the content of one namespace: what was read last, and what is there by its origin."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.observation import Dump
from l3agent.dataplane.plan.order import RARE_DUMPS, KindDump


class NamespaceCache:
    """Cache of one namespace; it alone changes its fields.

    The kernel thread uses it, or the offload thread while it works for the state of the namespace.

    :param preset: entries that the namespace had when it left the pool.
    :param next_index: index of the next device created inside, None if unknown.
    :param has_ipv6: its loopback device has IPv6.
    :param is_adopted: the namespace existed before this process: it may have entries of any kind.
    """

    __slots__ = (
        "_dumps",
        "_has_ipv6",
        "_is_ipv6_logged",
        "_is_newly_adopted",
        "_links",
        "_next_index",
        "_nsid",
        "_preset",
        "_rare_dumps",
        "_rules",
    )

    def __init__(
        self,
        *,
        preset: frozenset[Entry] = frozenset(),
        next_index: int | None = None,
        has_ipv6: bool = True,
        is_adopted: bool = False,
    ) -> None:
        self._preset = preset
        self._next_index = next_index
        self._has_ipv6 = has_ipv6
        self._is_newly_adopted = is_adopted
        self._is_ipv6_logged = False
        self._nsid: int | None = None
        self._rules: tuple[int | None, frozenset[Entry]] | None = None
        self._rare_dumps: set[KindDump] = set(RARE_DUMPS) if is_adopted else set()
        self._links: tuple[bytes, list[rtnl.LinkInfo]] | None = None
        self._dumps: dict[Dump, tuple[bytes, dict[int, str], frozenset[Any]]] = {}

    # ---- what is there by the origin of the namespace --------------------------------------------------------

    @property
    def nsid(self) -> int | None:
        """The id that marks events of the namespace; None before it was queried."""
        return self._nsid

    def record_nsid(self, nsid: int | None) -> None:
        """Record the id that marks events of the namespace."""
        self._nsid = nsid

    @property
    def is_newly_adopted(self) -> bool:
        """True if the namespace existed before this process, and nothing was announced from it yet."""
        return self._is_newly_adopted

    def mark_announced(self) -> bool:
        """Record that the addresses of the namespace are announced; return True if it was newly adopted until now."""
        adopted, self._is_newly_adopted = self._is_newly_adopted, False
        return adopted

    def pop_preset(self) -> frozenset[Entry]:
        """Return the entries that the namespace had when it left the pool; only the first plan may rely on them."""
        preset, self._preset = self._preset, frozenset()
        return preset

    def pop_next_index(self) -> int | None:
        """Return the index of the next device, None if unknown; from now on it is unknown."""
        index, self._next_index = self._next_index, None
        return index

    # ---- what was read last ----------------------------------------------------------------------------------

    @property
    def has_ipv6(self) -> bool:
        """True if the loopback device had IPv6 when the links were read last."""
        return self._has_ipv6

    def record_ipv6_missing(self, missing: bool) -> bool:
        """Record whether the state lacks IPv6 that it desires; return True if that has changed."""
        changed, self._is_ipv6_logged = missing != self._is_ipv6_logged, missing
        return changed

    def parse_links(self, data: bytes) -> list[rtnl.LinkInfo]:
        """Return the links in a dump; parse it only if it differs from the last one."""
        if self._links is None or self._links[0] != data:
            infos = rtnl.parse_links(data)
            self._links = data, infos
            self._has_ipv6 = any(info.index == rtnl.LOOPBACK and info.has_ipv6 for info in infos)
        return self._links[1]

    def parse(self, dump: Dump, names: dict[int, str], data: bytes) -> frozenset[Any]:
        """Return the entries in a dump; parse it only if it differs from the last one.

        :param names: names of the devices by index.
        :param data: the received bytes.
        """
        known = self._dumps.get(dump)
        if known is None or known[:2] != (data, names):
            known = self._dumps[dump] = data, names, dump.parse(data, names)
        return known[2]

    def find_rules(self, generation: int | None) -> frozenset[Entry] | None:
        """Return the entries of the rules if they were read at this generation, else None."""
        if generation is None or self._rules is None or self._rules[0] != generation:
            return None
        return self._rules[1]

    def record_rules(self, generation: int | None, entries: frozenset[Entry]) -> None:
        """Record the entries of the rules, read at a generation; None if the kernel reports none."""
        self._rules = generation, entries

    def clear(self) -> None:
        """Drop what was read: from now on events report changes."""
        self._dumps.clear()
        self._links = self._rules = None

    # ---- the dumps that few states need ----------------------------------------------------------------------

    def add_rare_dumps(self, dumps: Collection[KindDump]) -> None:
        """Record that some of the rare dumps may have entries here."""
        self._rare_dumps.update(dumps)

    def discard_rare_dump(self, dump: KindDump) -> None:
        """Record that a dump has no entries here."""
        self._rare_dumps.discard(dump)

    def rare_dumps(self) -> list[KindDump]:
        """Return the rare dumps that may have entries here, in the order of the kinds."""
        return [one for one in RARE_DUMPS if one in self._rare_dumps]
