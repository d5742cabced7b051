# SPDX-License-Identifier: Apache-2.0
"""Use of the neighbour table, from statistics of each CPU."""

from __future__ import annotations

from l3agent.dataplane.kernel.limits import limits, neighbour_statistics

_TWO_CPUS = """\
entries  allocs   destroys hash_grows lookups  hits     res_failed rcv_probes_mcast rcv_probes_ucast \
periodic_gc_runs forced_gc_runs unresolved_discards table_fulls
00000400 00000012 00000005 00000000   00000004 00000002 00000000   00000000         00000000         \
00000058         00000000       00000000            00000007
00000400 00000012 00000005 00000000   00000004 00000002 00000000   00000000         00000000         \
00000058         00000000       00000000            0000000a
"""


def test_entries_are_those_of_the_node_and_overflows_the_sum_of_its_cpus() -> None:
    assert neighbour_statistics(_TWO_CPUS) == (1024, 17)


def test_this_kernel_names_both_columns() -> None:
    tables = {one.name: one for one in limits(0) if one.name.startswith("neighbour table")}
    assert all(one.overflows is not None and 0 <= one.used <= one.maximum for one in tables.values())
