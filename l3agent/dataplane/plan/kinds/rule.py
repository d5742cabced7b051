# SPDX-License-Identifier: Apache-2.0
"""Policy rules."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from l3agent.dataplane.netlink import policy_rules
from l3agent.dataplane.netlink.policy_rules import RuleInfo
from l3agent.dataplane.netlink.routes import ROUTE_PROTOCOL
from l3agent.dataplane.plan.kinds.base import Batches, Entry, Inside, Operation, select
from l3agent.dataplane.plan.kinds.observation import Dump, EventLocation, Notification
from l3agent.model.states import Network


@dataclass(frozen=True, slots=True)
class RuleEvent:
    """A rule of our protocol was added or removed."""

    is_removal: bool
    rule: RuleInfo

    def is_as_desired(self, location: EventLocation) -> bool:
        """Return True if the desired state has the same; else the state has to be observed."""
        return (KernelRule(*self.rule) in location.desired()) != self.is_removal


def _decode(is_removal: bool, raw: bytes) -> Iterator[RuleEvent]:
    for rule in policy_rules.parse_rules(raw):
        yield RuleEvent(is_removal, rule)


def _parse(data: bytes, _: dict[int, str]) -> frozenset[KernelRule]:
    return frozenset(KernelRule(*rule) for rule in policy_rules.parse_rules(data))


@dataclass(frozen=True, slots=True)
class KernelRule(Entry):
    """A policy rule of our protocol, which selects a routing table.

    :param version: 4 or 6.
    :param source: None for all sources.
    :param device: the device on which packets arrive, None for all. The rule stays when the device is removed.
    """

    kind: ClassVar[str] = "rule"
    dumps: ClassVar[tuple[Dump, ...]] = (
        Dump(policy_rules.dump_rules(), _parse, lambda entries: bool(select(entries, KernelRule))),
    )
    notification: ClassVar[Notification | None] = Notification(policy_rules.GROUPS, policy_rules.NEWRULE, _decode)

    version: int
    priority: int
    table: int
    source: Network | None
    device: str | None

    def identity(self) -> Hashable:
        """Return the identity of the object: the kernel changes no rule, and may have several of one priority."""
        return self._info()

    def sort_key(self) -> tuple[Any, ...]:
        """Return the sort key among entries of the same phase."""
        return self.version, self.priority, self.table, str(self.source), str(self.device)

    def needs_ipv6(self) -> bool:
        """Return True if the kernel refuses the entry in a namespace without IPv6."""
        return self.version == 6

    def is_implied(self) -> bool:
        """Return True if a state without any IPv6 address or route has the entry as well, where it needs IPv6."""
        return self.source is None

    @classmethod
    def commands(cls, operation: Operation[KernelRule], namespace: str | None) -> list[str]:
        """Return the commands of an operator for an operation in a namespace."""
        rule = operation.entry
        family = " -6" if rule.version == 6 else ""
        verb = "delete" if operation.verb == "remove" else "add"
        device = "" if rule.device is None else f" iif {rule.device}"
        selector = f"from {'all' if rule.source is None else rule.source}{device}"
        what = f"priority {rule.priority} {selector} lookup {rule.table} protocol {ROUTE_PROTOCOL}"
        return [f"ip{family} -n {namespace} rule {verb} {what}"]

    @classmethod
    def needs_reobserve(cls, operations: Sequence[Operation[KernelRule]]) -> bool:
        """Return True if the kernel may delete a rule with further properties instead: what is absent matches any."""
        return any(one.verb == "remove" and None in (one.entry.source, one.entry.device) for one in operations)

    @classmethod
    def encode_additions(cls, operations: Sequence[Operation[KernelRule]], made: Batches, target: Inside) -> None:
        """Add the messages of additions."""
        made.additions += [
            (policy_rules.new_rule(one.entry._info()), one) for one in operations if one.verb != "remove"
        ]

    @classmethod
    def encode_removals(cls, operations: Sequence[Operation[KernelRule]], made: Batches, target: Inside) -> None:
        """Add the messages of removals."""
        made.removals += [
            (policy_rules.delete_rule(one.entry._info()), one) for one in operations if one.verb == "remove"
        ]

    def _info(self) -> RuleInfo:
        return RuleInfo(self.version, self.priority, self.table, self.source, self.device)
