# SPDX-License-Identifier: Apache-2.0
"""Features of this kernel, found in a scratch namespace, and the form in which it lists our tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from l3agent.dataplane.kernel.closer import DeferredCloser
from l3agent.dataplane.kernel.flows import supports_deletion_filter
from l3agent.dataplane.kernel.namespace_pool import open_here
from l3agent.dataplane.kernel.netns import enter
from l3agent.dataplane.kernel.sockets import NetlinkSocket
from l3agent.dataplane.netlink import nft, ruleset, tables
from l3agent.dataplane.netlink.nft_sets import TableId
from l3agent.dataplane.netlink.ruleset import NftTable


@dataclass(frozen=True, slots=True)
class KernelFeatures:
    """Features of this kernel.

    :param has_ipv6: new namespaces have IPv6.
    :param deletes_by_filter: conntrack entries can be deleted by a filter.
    :param intact_tables: fingerprint of each declared table.
    """

    has_ipv6: bool
    deletes_by_filter: bool
    intact_tables: Mapping[TableId, nft.Fingerprint]


def detect_features(home: int, closer: DeferredCloser) -> KernelFeatures:
    """Return the features; write the declared tables into a scratch namespace and read them back.

    :param home: descriptor of the namespace of the calling thread.
    """
    with enter(home, None):
        scratch = open_here()
    try:
        deletes_by_filter = supports_deletion_filter(scratch.netfilter)
        scratch.netfilter.nft_batch([one for table in tables.DECLARED for one in ruleset.new_table(table)])
        names = scratch.netfilter.dump(nft.dump_tables())
        intact = {table.id: read_fingerprint(scratch.netfilter, table, names) for table in tables.DECLARED}
        return KernelFeatures(scratch.has_ipv6, deletes_by_filter, intact)
    finally:
        closer.close(scratch.close)


def read_fingerprint(netfilter: NetlinkSocket, table: NftTable, names: bytes) -> nft.Fingerprint:
    """Return the fingerprint of a table in a namespace, without elements.

    :param names: the dump of tables.
    """
    return nft.fingerprint(table, names, *map(netfilter.dump, nft.dump_content(table)))
