# SPDX-License-Identifier: Apache-2.0
"""Takes over routers that neutron-l3-agent built, and hands them back to it.

Devices, addresses and flows are adopted unchanged, since they have the same names and values. One atomic batch switches
the rules: it adds our table and removes the rules of Neutron that the table replaces, so each packet meets one set of
rules or the other; NAT of established flows is the matter of conntrack, which stays.

Our table does not replace the rules of Neutron that redirect tenants to the metadata proxy. They stay, and so does the
proxy. A router with chains of an extension that this agent does not have stays unchanged.

At the hand-back both sets of rules overlap: our table stays until Neutron's rules are complete, and goes in one batch
then, as does the table of the counters. Until then both have the same effect, and the first to translate a flow
determines its NAT. Neutron adds its rules table by table: until the rules that set the mark of address scopes are
complete, our table sets it.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address

from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel.sockets import NetlinkSocket
from l3agent.dataplane.netlink import iptables, nft, rtnl, ruleset, tables
from l3agent.dataplane.netlink.iptables import Chain, Rule
from l3agent.dataplane.plan.kinds.neutron import NeutronRules
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.exceptions import ApplyError
from l3agent.model.names import EXTERNAL_DEVICES, INTERNAL_DEVICES

#: Prefix of the chains of neutron-l3-agent (iptables_manager: the name of its program, cut to 16 characters), and the
#: two chains that all agents of Neutron share.
PREFIX = "neutron-l3-agent-"
_SHARED = frozenset(("neutron-filter-top", "neutron-postrouting-bottom"))
#: Chains that our table replaces, or that have no effect without it (marks of address scopes).
_REPLACED = (
    *("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    *("local", "mark", "scope", "floatingip", "float-snat", "snat"),
)
#: Part of each rule that redirects to the metadata proxy, in IPv4 and at the end of fe80::a9fe:a9fe.
_METADATA = IPv4Address("169.254.169.254").packed
#: Accepts the packets that those rules redirected to the metadata proxy, and no others.
_METADATA_GUARD = ("filter", f"{PREFIX}INPUT")

# Where legacy iptables lists its tables in this namespace, and how to query one (ip_tables.h, ip6_tables.h: the socket,
# IPT_SO_GET_INFO and struct ipt_getinfo).
_X_TABLES = (("ip_tables_names", 2, 0), ("ip6_tables_names", 10, 41))


#: Defaults of the kernel that neutron-l3-agent needs: new devices get a link-local address.
_KERNEL_DEFAULTS = [Sysctl("net/ipv6/conf/default/addr_gen_mode", "0")]


def hand_back(kernel: Kernel, name: str) -> str | None:
    """Remove our tables from a router when Neutron's rules are in; return why not, or None when it is done."""
    try:
        return _hand_back(kernel, name)
    except ApplyError as exc:
        return str(exc)


def _hand_back(kernel: Kernel, name: str) -> str | None:
    handle = kernel.find(name)
    if handle is None:
        return None
    kernel.sysctls.write(handle, _KERNEL_DEFAULTS)
    handle.netfilter.nft_batch(ruleset.replace_chain(tables.ROUTER, tables.HAND_OVER))
    links = rtnl.parse_links(handle.route.dump(rtnl.dump_links()))
    devices = {info.name for info in links if info.name.startswith(EXTERNAL_DEVICES + INTERNAL_DEVICES)}
    if not _has_neutron_rules(handle.netfilter, devices):
        return "the rules of neutron-l3-agent are incomplete; ours stay"
    found = nft.identities(handle.netfilter.dump(nft.dump_tables()))
    ours = [table for table in tables.DECLARED if table.id.identity in found]
    handle.netfilter.nft_batch([ruleset.delete_table(table) for table in ours])
    return None


def _has_neutron_rules(netfilter: NetlinkSocket, devices: Iterable[str]) -> bool:
    """Return True if Neutron's rules are complete.

    Neutron adds the rules of source NAT and floating IPs together; the first of them matches packets that do not leave
    through the gateway, whether source NAT is on or off. The marks of address scopes come last, a rule for each device.
    """
    translating = _dump_rules(netfilter, "ip", "nat", "POSTROUTING")
    marking = _dump_rules(netfilter, "ip", "mangle", "scope") + _dump_rules(netfilter, "ip6", "mangle", "scope")
    return all(
        any(device.encode() in raw for raw in marking)
        and (device.startswith(INTERNAL_DEVICES) or any(device.encode() in raw for raw in translating))
        for device in devices
    )


def _dump_rules(netfilter: NetlinkSocket, family: iptables.Family, name: str, chain: str) -> list[bytes]:
    rules = iptables.parse_rules(netfilter.dump(iptables.dump_rules(family, name)))
    return [rule.raw for rule in rules if rule.chain == PREFIX + chain]


def neutron_rules(netfilter: NetlinkSocket) -> list[NeutronRules]:
    """Return the rules of neutron-l3-agent in a namespace that our table replaces.

    :raises ApplyError: there are rules that this agent cannot replace.
    """
    places: dict[tuple[iptables.Family, str], list[Chain]] = defaultdict(list)
    for chain in iptables.parse_chains(netfilter.dump(iptables.dump_chains())):
        if _is_neutron_chain(chain.name):
            places[chain.family, chain.table].append(chain)
    found = []
    for (family, name), chains in places.items():
        rules = iptables.parse_rules(netfilter.dump(iptables.dump_rules(family, name)))
        _reject_unknown(chains, rules)
        replaced = _replaced(family, name, chains, rules)
        if replaced.rules or replaced.chains:
            found.append(replaced)
    return found


def _is_neutron_chain(name: str) -> bool:
    return name.startswith(PREFIX) or name in _SHARED


def _reject_unknown(chains: Iterable[Chain], rules: Iterable[Rule]) -> None:
    known = {PREFIX + name for name in _REPLACED} | _SHARED
    used = {rule.chain for rule in rules}
    unknown = sorted({chain.name for chain in chains if chain.name not in known} & used)
    if unknown:
        raise ApplyError(
            f"not taken over: neutron-l3-agent has rules of an extension here that this agent does not have "
            f"(chains {', '.join(unknown)}); the router stays unchanged"
        )


def _replaced(family: iptables.Family, table: str, chains: list[Chain], rules: list[Rule]) -> NeutronRules:
    """Return the rules and chains to remove: all except those of the metadata proxy."""
    names = {chain.name for chain in chains}
    kept = {
        rule.handle
        for rule in rules
        if rule.chain in names and (_METADATA in rule.raw or (table, rule.chain) == _METADATA_GUARD)
    }
    staying = {rule.chain for rule in rules if rule.handle in kept}
    while more := {rule for rule in rules if rule.target in staying and rule.handle not in kept}:
        kept |= {rule.handle for rule in more}
        staying |= {rule.chain for rule in more if rule.chain in names}
    going = names - staying
    return NeutronRules(
        family,
        table,
        rules=tuple(
            (rule.chain, rule.handle)
            for rule in rules
            if rule.handle not in kept and (rule.chain in staying or rule.target in going) and rule.chain not in going
        ),
        chains=tuple(sorted(going)),
    )


def reject_x_tables() -> None:
    """Check that the namespace of the calling thread has no rules of legacy iptables.

    :raises ApplyError: it has; nf_tables cannot remove them, so one batch cannot switch the rules.
    """
    for listing, family, level in _X_TABLES:
        try:
            with open(f"/proc/thread-self/net/{listing}") as names:
                tables = names.read().split()
        except FileNotFoundError:
            continue
        try:
            used = [name for name in tables if syscalls.x_tables_rules(name, family, level)]
        except OSError as exc:
            if exc.errno != errno.EAFNOSUPPORT:
                raise
            # The kernel was started with ipv6.disable: no rule of that family sees a packet.
            continue
        if used:
            raise ApplyError(
                f"not taken over: rules of legacy iptables here ({'IPv6' if family == 10 else 'IPv4'}, tables "
                f"{', '.join(used)}); have neutron-l3-agent use iptables-nft (update-alternatives --config iptables)"
            )
