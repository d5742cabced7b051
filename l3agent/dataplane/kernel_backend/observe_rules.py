# SPDX-License-Identifier: Apache-2.0
"""Reads the nf_tables rules of one namespace as entries: our tables, their elements, and rules of neutron-l3-agent."""

from __future__ import annotations

from collections.abc import Iterator

from l3agent.dataplane.kernel.kernel_features import read_fingerprint
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel.sockets import NetlinkSocket
from l3agent.dataplane.kernel_backend import takeover
from l3agent.dataplane.netlink import nft, nft_elements, tables
from l3agent.dataplane.netlink.ruleset import NftTable
from l3agent.dataplane.plan.kinds import pending_flush
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.table import Table


def read_tables(kernel: Kernel, handle: NamespaceHandle) -> frozenset[Entry]:
    """Return our tables and their elements, read only if the generation of the rules changed since the last read.

    The generation is queried first: changes during the read are read again the next time.
    """
    generation = handle.generation()
    rules = handle.cache.find_rules(generation)
    if rules is None:
        rules = frozenset(_read_rules(kernel, handle.netfilter, found=handle.is_found))
        handle.cache.record_rules(generation, rules)
    return rules


def _read_rules(kernel: Kernel, netfilter: NetlinkSocket, *, found: bool) -> Iterator[Entry]:
    if found:
        yield from takeover.neutron_rules(netfilter)
    names = netfilter.dump(nft.dump_tables())
    existing = nft.identities(names)
    for table in tables.DECLARED:
        if table.id.identity in existing:
            yield from _read_table(table, kernel, netfilter, names)


def _read_table(table: NftTable, kernel: Kernel, netfilter: NetlinkSocket, names: bytes) -> Iterator[Entry]:
    intact = read_fingerprint(netfilter, table, names) == kernel.features.intact_tables[table.id]
    for one in table.sets:
        for key, value in nft_elements.decode_elements(one, netfilter.dump(nft_elements.dump_elements(one))).items():
            if not nft_elements.is_of_type(one, key, value):
                intact = False
            elif one is tables.PENDING_FLUSH:
                yield pending_flush.parse_key(key)
            else:
                yield Element(one, key, value)
    yield Table(table, intact)
