# SPDX-License-Identifier: Apache-2.0
"""Takes over routers that neutron-l3-agent built, and hands them back to it.

Devices, addresses and flows are adopted as they are, for they have the same names and values. The rules change hands in
one atomic batch: our table comes and the rules of Neutron that it stands for go, so each packet meets one set of rules
or the other; NAT of established flows is a matter of conntrack, which stays.

There are rules of Neutron that our table does not stand for: they lead tenants to the metadata proxy. They stay, and so
does the proxy. Chains of an extension that this agent does not have are a reason to leave the router as it is.

Back again, nobody translates for both: our table stays until Neutron's rules are in, and goes in one batch then. For
as long as both are there, both say the same, and the first that translates a flow has it. Neutron's rules come table by
table: packets get the mark that some of them ask for from us, until those that set it are in as well.
"""

from __future__ import annotations

import errno
from collections import defaultdict
from collections.abc import Iterable
from ipaddress import IPv4Address

from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel.sockets import NetlinkSocket
from l3agent.dataplane.netlink import iptables, nft_table, rtnl
from l3agent.dataplane.netlink.iptables import Chain, Rule
from l3agent.dataplane.plan.entries import NeutronRules, Sysctl
from l3agent.exceptions import ApplyError
from l3agent.model.names import GATEWAY_DEVICE, INTERNAL_DEVICE

#: How neutron-l3-agent calls its chains (iptables_manager: the name of its program, cut to 16 characters), and the two
#: that all agents of Neutron share.
PREFIX = "neutron-l3-agent-"
_SHARED = frozenset(("neutron-filter-top", "neutron-postrouting-bottom"))
#: What our table stands for, or what means nothing without it (marks of address scopes).
_REPLACED = (
    *("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    *("local", "mark", "scope", "floatingip", "float-snat", "snat"),
)
#: In each rule that leads to the metadata proxy, in IPv4 and at the end of fe80::a9fe:a9fe.
_METADATA = IPv4Address("169.254.169.254").packed
#: Lets through to the metadata proxy what came by those rules, and nothing else.
_METADATA_GUARD = ("filter", f"{PREFIX}INPUT")

# Where legacy iptables lists its tables in this namespace, and how to ask for one (ip_tables.h, ip6_tables.h: the
# socket, IPT_SO_GET_INFO and struct ipt_getinfo).
_X_TABLES = (("ip_tables_names", 2, 0), ("ip6_tables_names", 10, 41))


#: Settings that neutron-l3-agent finds as the kernel makes them, and needs: new devices get a link-local address.
_KERNEL_DEFAULTS = [Sysctl("net/ipv6/conf/default/addr_gen_mode", "0")]


def hand_back(kernel: Kernel, name: str) -> str | None:
    """Remove our table from a router when Neutron's rules are in; return why not, or None when it is done."""
    try:
        return _hand_back(kernel, name)
    except ApplyError as exc:
        return str(exc)


def _hand_back(kernel: Kernel, name: str) -> str | None:
    handle = kernel.find(name)
    if handle is None:
        return None
    kernel.write_sysctls(handle, _KERNEL_DEFAULTS)
    handle.netfilter.nft_batch(nft_table.mark_as_without_scope())
    links = rtnl.parse_links(handle.route.dump(rtnl.dump_links()))
    devices = {info.name for info in links if info.name.startswith((GATEWAY_DEVICE, INTERNAL_DEVICE))}
    if not _has_neutron_rules(handle.netfilter, devices):
        return "no rules of neutron-l3-agent yet; ours stay"
    handle.netfilter.nft_batch([nft_table.delete_table()])
    return None


def _has_neutron_rules(netfilter: NetlinkSocket, devices: Iterable[str]) -> bool:
    """Tell whether all of Neutron's rules are in.

    It puts in those of source NAT and floating IPs together; the first of them is about what does not leave by the
    gateway, whether source NAT is on or off. Last come the marks of address scopes, a rule for each device.
    """
    translating = _rules_of(netfilter, "ip", "nat", "POSTROUTING")
    marking = _rules_of(netfilter, "ip", "mangle", "scope") + _rules_of(netfilter, "ip6", "mangle", "scope")
    return all(
        any(device.encode() in raw for raw in marking)
        and (device.startswith(INTERNAL_DEVICE) or any(device.encode() in raw for raw in translating))
        for device in devices
    )


def _rules_of(netfilter: NetlinkSocket, family: iptables.Family, name: str, chain: str) -> list[bytes]:
    rules = iptables.parse_rules(netfilter.dump(iptables.dump_rules(family, name)))
    return [rule.raw for rule in rules if rule.chain == PREFIX + chain]


def neutron_rules(netfilter: NetlinkSocket) -> list[NeutronRules]:
    """Return what neutron-l3-agent has in a namespace and our table stands for.

    :raises ApplyError: it has more than this agent can replace.
    """
    places: dict[tuple[iptables.Family, str], list[Chain]] = defaultdict(list)
    for chain in iptables.parse_chains(netfilter.dump(iptables.dump_chains())):
        if _is_neutron_chain(chain.name):
            places[chain.family, chain.table].append(chain)
    found = []
    for (family, name), chains in places.items():
        rules = iptables.parse_rules(netfilter.dump(iptables.dump_rules(family, name)))
        _reject_unknown(chains, rules)
        gone = _replaced(family, name, chains, rules)
        if gone.rules or gone.chains:
            found.append(gone)
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
            f"(chains {', '.join(unknown)}); the router stays as it is"
        )


def _replaced(family: iptables.Family, table: str, chains: list[Chain], rules: list[Rule]) -> NeutronRules:
    """Return what goes: all but what leads to the metadata proxy."""
    names = {chain.name for chain in chains}
    kept = {
        rule.handle
        for rule in rules
        if rule.chain in names and (_METADATA in rule.raw or (table, rule.chain) == _METADATA_GUARD)
    }
    staying = {rule.chain for rule in rules if rule.handle in kept}
    while more := {rule for rule in rules if rule.leads_to in staying and rule.handle not in kept}:
        kept |= {rule.handle for rule in more}
        staying |= {rule.chain for rule in more if rule.chain in names}
    going = names - staying
    return NeutronRules(
        family,
        table,
        rules=tuple(
            (rule.chain, rule.handle)
            for rule in rules
            if rule.handle not in kept and (rule.chain in staying or rule.leads_to in going) and rule.chain not in going
        ),
        chains=tuple(sorted(going)),
    )


def reject_x_tables() -> None:
    """Make sure that the namespace of the calling thread has no rules of legacy iptables.

    :raises ApplyError: it has; nf_tables knows nothing of them, so they cannot change hands in one batch.
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
