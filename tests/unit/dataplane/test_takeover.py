# SPDX-License-Identifier: Apache-2.0
"""What of Neutron's rules goes in a takeover. That nothing is lost is in tests/functional/test_takeover.py."""

from __future__ import annotations

import pytest

from l3agent.dataplane.kernel_backend import takeover
from l3agent.dataplane.netlink import iptables
from l3agent.dataplane.netlink.iptables import Chain, Rule
from l3agent.dataplane.netlink.message import attribute, be32, message, nested, text
from l3agent.dataplane.plan.kinds.neutron import NeutronRules
from l3agent.exceptions import ApplyError

PRE, SNAT, MARK, IN = (f"neutron-l3-agent-{name}" for name in ("PREROUTING", "snat", "mark", "INPUT"))
BOTTOM, FORWARDING = "neutron-postrouting-bottom", "neutron-l3-agent-fip-pf"
METADATA = b"...\xa9\xfe\xa9\xfe..."


class Rules:
    """Stands for a netfilter socket: answers what iptables would have in a table."""

    def __init__(self, table: str, chains: list[str], rules: list[Rule]) -> None:
        self._chains = [Chain("ip", table, name) for name in chains]
        self._rules = rules

    def dump(self, request: bytes) -> bytes:
        kind = int.from_bytes(request[4:6], "little") & 0xFF
        if kind == 4:
            return b"".join(
                message(0xA03, 0, b"\2\0\0\0" + text(1, one.table) + text(3, one.name)) for one in self._chains
            )
        return b"".join(message(0xA06, 0, b"\2\0\0\0" + _rule(one)) for one in self._rules)


def _rule(rule: Rule) -> bytes:
    jump = b""
    if rule.target:
        verdict = nested(2, be32(1, 0xFFFFFFFD), text(2, rule.target))
        jump = nested(1, text(1, "immediate"), nested(2, be32(1, 0), nested(2, verdict)))
    raw = nested(1, text(1, "payload"), nested(2, attribute(9, rule.raw))) + jump
    return text(2, rule.chain) + attribute(3, rule.handle.to_bytes(8, "big")) + nested(4, raw)


def found(table: str, chains: list[str], rules: list[Rule]) -> list[NeutronRules]:
    return takeover.neutron_rules(Rules(table, chains, rules))  # type: ignore[arg-type]


def test_all_goes_where_nothing_leads_to_the_metadata_proxy() -> None:
    rules = [
        Rule("POSTROUTING", 1, BOTTOM, b""),
        Rule("POSTROUTING", 2, "", b"of somebody else"),
        Rule(BOTTOM, 3, SNAT, b""),
        Rule(SNAT, 4, "", b""),
    ]
    gone = NeutronRules("ip", "nat", rules=(("POSTROUTING", 1),), chains=(SNAT, BOTTOM))
    assert found("nat", ["POSTROUTING", BOTTOM, SNAT], rules) == [gone]


def test_what_leads_to_the_metadata_proxy_stays_with_the_way_there() -> None:
    rules = [
        Rule("PREROUTING", 1, PRE, b""),
        Rule(PRE, 2, MARK, b""),
        Rule(PRE, 3, "", METADATA),
        Rule(PRE, 4, "", b"a floating IP"),
        Rule(MARK, 5, "", b""),
    ]
    gone = NeutronRules("ip", "mangle", rules=((PRE, 2), (PRE, 4)), chains=(MARK,))
    assert found("mangle", ["PREROUTING", PRE, MARK], rules) == [gone]


def test_the_guard_of_the_metadata_proxy_stays_where_there_is_one() -> None:
    guard = [Rule("INPUT", 1, IN, b""), Rule(IN, 2, "", b"a mark"), Rule(IN, 3, "", b"port 9697")]
    assert found("filter", ["INPUT", IN], guard) == []
    empty = NeutronRules("ip", "filter", rules=(("INPUT", 1),), chains=(IN,))
    assert found("filter", ["INPUT", IN], guard[:1]) == [empty]


def test_rules_of_somebody_else_are_nothing_to_take_over() -> None:
    assert found("filter", ["INPUT", "ufw-input"], [Rule("INPUT", 1, "ufw-input", b"")]) == []


def test_a_chain_of_an_extension_is_a_reason_to_refuse_when_it_has_rules() -> None:
    chains = ["PREROUTING", PRE, FORWARDING]
    rules = [Rule("PREROUTING", 1, PRE, b""), Rule(PRE, 2, FORWARDING, b""), Rule(FORWARDING, 3, "", b"")]
    with pytest.raises(ApplyError, match=f"not taken over: .*chains {FORWARDING}"):
        found("nat", chains, rules)
    gone = NeutronRules("ip", "nat", rules=(("PREROUTING", 1),), chains=(PRE, FORWARDING))
    assert found("nat", chains, rules[:2]) == [gone]


def test_damaged_answers_are_no_rules() -> None:
    whole = Rules("nat", [PRE], []).dump(iptables.dump_chains())
    for size in range(len(whole)):
        assert iptables.parse_chains(whole[:size]) == []
