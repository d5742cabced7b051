# SPDX-License-Identifier: Apache-2.0
"""Policy rules: messages equal to those of iproute2, dumps, and events."""

from __future__ import annotations

from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from l3agent.dataplane.kernel.namespace_cache import NamespaceCache
from l3agent.dataplane.kernel_backend.ipv6 import log_missing
from l3agent.dataplane.netlink import policy_rules
from l3agent.dataplane.netlink.message import HEADER, attribute_map, message, u32
from l3agent.dataplane.netlink.policy_rules import RuleInfo
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.events import route_events, route_filter
from l3agent.dataplane.plan.kinds.base import Operation
from l3agent.dataplane.plan.kinds.rule import KernelRule, RuleEvent
from tests.unit.dataplane.test_events import keeps

SOURCE = RuleInfo(4, 100, 16, ip_network("10.0.0.0/24"), None)
DEVICE = RuleInfo(4, 101, 2852018310, None, "d0")
BOTH = RuleInfo(6, 102, 300, ip_network("2001:db8::/64"), "d0")
#: The bodies that ``ip rule add priority ... from ... iif ... lookup ... protocol 201`` of iproute2 6.1 sends.
RECORDED = {
    SOURCE: "0200180010000001000000000800060064000000080002000a00000005001500c9000000",
    DEVICE: "02000000000000010000000008000600650000000700030064300000" + "08000f008658fea905001500c9000000",
    BOTH: "0a0040000000000100000000080006006600000014000200" + "20010db8000000000000000000000000" + "0700030064300000"
    "08000f002c01000005001500c9000000",
}


@pytest.mark.parametrize("rule", RECORDED)
def test_a_rule_is_encoded_as_by_iproute2(rule: RuleInfo) -> None:
    recorded = bytes.fromhex(RECORDED[rule])
    made = policy_rules.new_rule(rule)
    _, kind, flags, _, _ = HEADER.unpack_from(made)
    assert (kind, flags) == (32, 0x601)
    # The order of the attributes is free.
    assert made[16:28] == recorded[:12]
    assert attribute_map(made, 28, len(made)) == attribute_map(recorded, 12, len(recorded))
    deleted = policy_rules.delete_rule(rule)
    assert HEADER.unpack_from(deleted)[1] == 33 and deleted[16:] == made[16:]


@pytest.mark.parametrize("rule", RECORDED)
def test_a_rule_is_read_back(rule: RuleInfo) -> None:
    assert list(policy_rules.parse_rules(policy_rules.new_rule(rule))) == [rule]
    (dump,) = KernelRule.dumps
    assert dump.parse(policy_rules.new_rule(rule), {}) == {KernelRule(*rule)}


def test_a_rule_of_another_program_is_left_out() -> None:
    made = policy_rules.new_rule(SOURCE)
    for at, value in ((len(made) - 4, 4), (16 + 7, 6), (16 + 1, 8), (16 + 3, 4)):
        other = bytearray(made)
        other[at] = value
        assert list(policy_rules.parse_rules(bytes(other))) == []
    assert list(policy_rules.parse_rules(made[:40])) == []


@pytest.mark.parametrize("suppressor", [13, 14])
def test_a_rule_that_ignores_some_results_of_its_table_is_left_out(suppressor: int) -> None:
    for value, expected in ((0xFFFFFFFF, [SOURCE]), (0, [])):
        body = policy_rules.new_rule(SOURCE)[HEADER.size :]
        dumped = message(policy_rules.NEWRULE, 0, body + u32(suppressor, value))
        assert list(policy_rules.parse_rules(dumped)) == expected


def test_the_removal_of_a_rule_without_source_or_device_may_remove_another() -> None:
    for rule, expected in ((SOURCE, True), (DEVICE, True), (BOTH, False)):
        removal, addition = (Operation(verb, KernelRule(*rule)) for verb in ("remove", "add"))
        assert KernelRule.needs_reobserve([removal]) is expected
        assert not KernelRule.needs_reobserve([addition])


def test_only_a_rule_for_ipv6_sources_is_missed_on_a_node_without_ipv6(caplog: pytest.LogCaptureFixture) -> None:
    for source, expected in ((None, 0), (BOTH.source, 1)):
        handle = cast(Any, SimpleNamespace(cache=NamespaceCache(has_ipv6=False)))
        log_missing(handle, ("router", "r"), frozenset({KernelRule(*BOTH._replace(source=source))}))
        assert len(caplog.records) == expected


class Place:
    """An applied state with one rule."""

    devices: ClassVar[dict[int, str]] = {}
    has_ipv6 = True

    def desired(self) -> frozenset[Any]:
        return frozenset({KernelRule(*SOURCE)})


def test_an_event_is_compared_with_the_desired_rules() -> None:
    removal = policy_rules.delete_rule(SOURCE)
    assert keeps(route_filter(1), removal)
    events = list(route_events(policy_rules.new_rule(SOURCE) + removal + policy_rules.new_rule(DEVICE)))
    assert events == [RuleEvent(False, SOURCE), RuleEvent(True, SOURCE), RuleEvent(False, DEVICE)]
    assert [one.is_as_desired(cast(Any, Place())) for one in events] == [True, False, False]


def test_commands_are_those_of_an_operator() -> None:
    lines = [
        *commands(Operation("add", KernelRule(*SOURCE)), "ns"),
        *commands(Operation("add", KernelRule(*BOTH)), "ns"),
        *commands(Operation("remove", KernelRule(*DEVICE)), "ns"),
    ]
    assert lines == [
        "ip -n ns rule add priority 100 from 10.0.0.0/24 lookup 16 protocol 201",
        "ip -6 -n ns rule add priority 102 from 2001:db8::/64 iif d0 lookup 300 protocol 201",
        "ip -n ns rule delete priority 101 from all iif d0 lookup 2852018310 protocol 201",
    ]
    assert KernelRule(*SOURCE).as_json() == {
        "version": 4,
        "priority": 100,
        "table": 16,
        "source": "10.0.0.0/24",
        "device": None,
    }
