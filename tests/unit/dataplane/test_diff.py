# SPDX-License-Identifier: Apache-2.0
"""Order and shape of plans. The laws that hold for all of them are in tests/property/test_plan_laws.py."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, ip_interface, ip_network
from struct import unpack_from

from l3agent.dataplane.netlink.message import messages
from l3agent.dataplane.netlink.routes import PROTOCOL_STATIC
from l3agent.dataplane.plan import encode
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.kinds.accept_ra import AcceptRA
from l3agent.dataplane.plan.kinds.address import DeviceAddress
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.kinds.element import Element
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.neutron import NeutronRoute, NeutronRules
from l3agent.dataplane.plan.kinds.pending_flush import PendingFlush
from l3agent.dataplane.plan.kinds.route import KernelRoute
from l3agent.dataplane.plan.kinds.stray_tap import StrayTap
from l3agent.dataplane.plan.kinds.table import Table
from l3agent.dataplane.plan.render import entries, link_local
from l3agent.model.states import FloatingIP, NamespaceState, NextHop, Port, Route

INNER = Port("aaaaaaaa-aaaa", "n1", "qr-a", "fa:16:3e:00:00:01", 1500, frozenset({ip_interface("10.0.0.1/24")}))
OUTER = Port("bbbbbbbb-bbbb", "n2", "qg-b", "fa:16:3e:00:00:02", 1500, frozenset({ip_interface("203.0.113.10/24")}))
DEFAULT = Route(ip_network("0.0.0.0/0"), frozenset({NextHop("qg-b", IPv4Address("192.0.2.1"))}))
GATEWAY = Route(ip_network("192.0.2.1/32"), frozenset({NextHop("qg-b", None)}))
ROUTER = NamespaceState(
    "router",
    "r",
    frozenset({INNER}),
    OUTER,
    routes=frozenset({DEFAULT, GATEWAY}),
    floating_ips=frozenset({FloatingIP(IPv4Address("203.0.113.100"), IPv4Address("10.0.0.5"))}),
    nat_address=IPv4Address("203.0.113.10"),
    snat=True,
)


def rendered(state: NamespaceState | None) -> frozenset[Entry]:
    return entries(("router", "r"), state, load_driver("bridge"))


def kinds(wanted: NamespaceState | None, held: NamespaceState | None) -> list[tuple[str, type]]:
    return [(one.verb, type(one.entry)) for one in diff(rendered(wanted), rendered(held)).operations]


def test_rules_come_before_the_links_are_up_and_addresses_before_routes() -> None:
    plan = diff(rendered(ROUTER), frozenset())
    inside = encode.namespace_messages(plan, {"qr-a": 2, "qg-b": 3})
    places = {kind: at for at, (_, kind) in enumerate(kinds(ROUTER, None))}
    assert places[Namespace] < places[Bridge] < places[Link] < places[Table] < places[Element]
    assert places[Element] < places[DeviceAddress] < places[KernelRoute]
    # Links are made in the send before the rules, and brought up in the send after them.
    assert {type(one.entry) for _, one in inside.additions} == {Namespace, Link, DeviceAddress, KernelRoute}


def test_the_route_to_a_gateway_outside_its_subnet_comes_first() -> None:
    plan = diff(rendered(ROUTER), frozenset())
    assert [one.entry for one in plan.of(KernelRoute)] == [
        KernelRoute(GATEWAY.destination, GATEWAY.hops),
        KernelRoute(DEFAULT.destination, DEFAULT.hops, PROTOCOL_STATIC),
    ]


def test_a_removed_router_is_its_links_and_its_namespace() -> None:
    assert kinds(None, ROUTER) == [("remove", Link), ("remove", Link), ("remove", Namespace)]


def test_a_link_on_another_tap_goes_before_it_comes_with_all_that_leans_on_it() -> None:
    moved = {replace(entry, tap="") if isinstance(entry, Link) else entry for entry in rendered(ROUTER)}
    plan = diff(rendered(ROUTER), moved)
    verbs = [(one.verb, one.entry.device) for one in plan.of(Link) if isinstance(one.entry, Link)]
    assert verbs == [("remove", "qg-b"), ("remove", "qr-a"), ("add", "qg-b"), ("add", "qr-a")]
    assert len(plan.of(DeviceAddress)) == 5 and len(plan.of(KernelRoute)) == 2
    assert not plan.of(Table, Element, Namespace)
    assert len(encode.early_messages(plan, {"qr-a": 2, "qg-b": 3}).early_removals) == 2
    assert encode.namespace_messages(plan, {"qr-a": 2, "qg-b": 3}).removals == []


def test_a_link_that_is_down_is_brought_up_and_nothing_else() -> None:
    down = {replace(entry, up=False) if isinstance(entry, Link) else entry for entry in rendered(ROUTER)}
    assert {(one.verb, type(one.entry)) for one in diff(rendered(ROUTER), down).operations} == {("change", Link)}


def test_a_network_below_the_mtu_of_ipv6_has_no_link_local_address() -> None:
    for mtu, there in ((1279, False), (1280, True), (None, True)):
        state = replace(ROUTER, ports=frozenset({replace(INNER, mtu=mtu)}))
        assert (DeviceAddress("qr-a", link_local(INNER.mac)) in rendered(state)) is there


def test_only_what_takes_something_along_asks_for_a_second_look() -> None:
    fewer = replace(ROUTER, floating_ips=frozenset())
    assert not diff(rendered(ROUTER), frozenset()).needs_reobserve()
    assert not diff(rendered(fewer), rendered(ROUTER)).needs_reobserve()
    assert diff(rendered(replace(ROUTER, ports=frozenset())), rendered(ROUTER)).needs_reobserve()


# ---- floating IPs -------------------------------------------------------------------------------------------------


def test_a_moved_floating_ip_is_one_delete_and_one_add_a_map_in_one_batch() -> None:
    moved = replace(ROUTER, floating_ips=frozenset({FloatingIP(IPv4Address("203.0.113.100"), IPv4Address("10.0.0.6"))}))
    plan = diff(rendered(moved), rendered(ROUTER))
    edge = PendingFlush("floating_dnat", IPv4Address("203.0.113.100"), IPv4Address("10.0.0.5"))
    assert [(one.verb, one.entry) for one in plan.of(PendingFlush)] == [("add", edge), ("remove", edge)]
    batch = encode.rule_messages(plan)
    types = [next(messages(data))[0] & 0xFF for data, _ in batch]
    assert types == [14, 12, 14, 12, 12]
    assert batch[-1][0].count(b"pending_flush") == 1


def test_entries_towards_an_added_floating_ip_are_deleted_only_where_there_can_be_any() -> None:
    floating = IPv4Address("203.0.113.100")
    edge = PendingFlush("untranslated", floating)
    fewer = rendered(replace(ROUTER, floating_ips=frozenset()))
    without_journal = replace(edge, is_journalled=False)
    operations = diff(rendered(ROUTER), fewer).operations
    assert [(one.verb, one.entry) for one in operations if isinstance(one.entry, PendingFlush)] == [
        ("remove", without_journal)
    ]
    address = DeviceAddress("qg-b", IPv4Interface((floating, 32)))
    kinds = [type(one.entry) for one in operations]
    assert kinds == [Element, Element, PendingFlush, DeviceAddress]
    # Interrupted before the address came.
    rest = diff(rendered(ROUTER), rendered(ROUTER) - {address}).operations
    assert [one.entry for one in rest] == [without_journal, address]
    # The rules that used the elements are gone, and so are the elements of the tampered table.
    tampered = {one for one in rendered(ROUTER) if not isinstance(one, Table)} | {Table(is_intact=False)}
    assert edge in {one.entry for one in diff(rendered(ROUTER), tampered).of(PendingFlush)}
    # A new namespace, also where something outside of it was left over.
    assert not diff(rendered(ROUTER), {StrayTap("tapa")}).of(PendingFlush)
    # A takeover: neutron-l3-agent translated it already, and another one not.
    neutrons = {one for one in fewer if not isinstance(one, Table | Element)}
    neutrons |= {NeutronRules("ip", "nat", (("PREROUTING", 1),), ()), address}
    other = IPv4Address("203.0.113.101")
    both = replace(ROUTER, floating_ips=ROUTER.floating_ips | {FloatingIP(other, IPv4Address("10.0.0.6"))})
    edges = {one.entry for one in diff(rendered(both), neutrons).of(PendingFlush)}
    assert edges == {PendingFlush("untranslated", other, is_journalled=False)}
    # Beside an edge that is journalled all are: one dump serves a plan.
    moved = replace(ROUTER, floating_ips=frozenset({FloatingIP(other, IPv4Address("10.0.0.6"))}))
    added = [one.entry for one in diff(rendered(moved), rendered(ROUTER)).of(PendingFlush) if one.verb == "add"]
    assert added == [
        PendingFlush("floating_dnat", floating, IPv4Address("10.0.0.5")),
        PendingFlush("untranslated", other),
    ]


def test_entries_without_nat_are_deleted_only_where_snat_is_switched_on() -> None:
    without = rendered(replace(ROUTER, snat=False))
    edges = {one.entry for one in diff(rendered(ROUTER), without).of(PendingFlush)}
    assert edges == {PendingFlush("without_nat", IPv4Address("10.0.0.0"), IPv4Address("255.255.255.0"))}
    # Another address, a takeover, a new namespace.
    other = rendered(replace(ROUTER, nat_address=IPv4Address("203.0.113.11")))
    neutrons = {one for one in without if not isinstance(one, Table)} | {NeutronRules("ip", "nat", (), ("chain",))}
    for held in (other, neutrons, set[Entry]()):
        whats = {one.entry.cause for one in diff(rendered(ROUTER), held).of(PendingFlush)}
        assert "without_nat" not in whats


def test_a_mapping_that_goes_and_is_journalled_already_is_flushed_once() -> None:
    pending = PendingFlush("floating_dnat", IPv4Address("203.0.113.100"), IPv4Address("10.0.0.5"))
    held = rendered(ROUTER) | {pending}
    fewer = rendered(replace(ROUTER, floating_ips=frozenset()))
    assert [(one.verb, one.entry) for one in diff(fewer, held).of(PendingFlush)] == [("remove", pending)]


def test_a_device_of_the_node_is_isolated_before_it_comes_up() -> None:
    link = Link("qr-a", "fa:16:3e:00:00:01", 1500, True, "tapa", "brqn")
    plan = diff({Namespace("ns"), Bridge("brqn", "n"), link}, set())
    for made in (encode.bridge_messages(plan), encode.host_messages(plan, namespace_fd=3, bridge_index={"brqn": 4})):
        before = [*made.creations, *made.isolation]
        flags = [unpack_from("=I", message, 24)[0] for message, _ in before]  # ifi_flags behind nlmsghdr
        assert flags == [0, 0]
        assert [operation.entry for _, operation in made.additions] == [made.isolation[0][1].entry]


def test_an_ipv6_default_route_of_another_table_leaves_router_advertisements_accepted() -> None:
    other = Route(ip_network("::/0"), frozenset({NextHop("qr-a", None)}), table=16)
    main = replace(other, table=254)
    accepted = [one for one in rendered(ROUTER) if isinstance(one, AcceptRA)]
    assert len(accepted) == 1
    for route, expected in ((other, accepted), (main, [])):
        state = replace(ROUTER, routes=ROUTER.routes | {route})
        assert [one for one in rendered(state) if isinstance(one, AcceptRA)] == expected


def test_only_a_route_of_the_main_table_replaces_one_of_neutron() -> None:
    found = NeutronRoute(DEFAULT.destination)
    for table, expected in ((16, [("remove", found)]), (254, [])):
        route = replace(DEFAULT, table=table)
        wanted = rendered(replace(ROUTER, routes=frozenset({route})))
        plan = diff(wanted, rendered(replace(ROUTER, routes=frozenset())) | {found})
        assert [(one.verb, one.entry) for one in plan.of(NeutronRoute)] == expected
