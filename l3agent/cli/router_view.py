# SPDX-License-Identifier: Apache-2.0
"""Text view of one router: actual state, and its differences from the desired state. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from l3agent.cli.terminal import Cell, Screen, table

Entries = Iterable[Mapping[str, Any]]
_TRANSLATIONS = {
    "floating_dnat": "floating IP",
    "gateway_snat": "source NAT",
    "hairpin_snat": "hairpin",
}


def router_lines(router: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    """Yield the lines of a router.

    :param router: result of :func:`l3agent.ops.status.show`, with its ``processes`` (:mod:`l3agent.cli.processes`).
    """
    actual = list(router["actual"])
    paused = ", paused" if router["paused"] else ""
    yield screen.paint(screen.cut(f"router {router['id']}  {router['name']}  {router['state']}{paused}"), "bold")
    if router["error"]:
        yield screen.paint(screen.cut(f"error: {router['error']}"), "red")
    # Not truncated: the end of a warning is its reason.
    yield from (screen.paint(f"warning: {warning}", "yellow") for warning in router["warnings"])
    yield from _section("interfaces", _links(actual), ("DEVICE", "MAC", "MTU", "STATE", "TAP", "BRIDGE"), screen)
    addresses = [(one["device"], one["interface"]) for one in actual if one["kind"] == "address"]
    yield from _section("addresses", addresses, ("DEVICE", "ADDRESS"), screen)
    yield from _section("routes", _routes(actual), ("DESTINATION", "VIA", "DEVICE", "TABLE"), screen)
    yield from _section("translation", _translations(actual), ("KIND", "WHAT", "ADDRESS"), screen)
    settings = [(one["path"].replace("/", "."), one["value"]) for one in actual if one["kind"] == "sysctl"]
    yield from _section("settings", settings, ("SYSCTL", "VALUE"), screen)
    yield from _processes(router["processes"], screen)
    yield ""
    yield from _difference(router, screen)


def differences(desired: Entries, actual: Entries) -> list[tuple[str, str]]:
    """Return the differing entries, with ``-`` for missing and ``+`` for unexpected entries."""
    expected, observed = [dict.fromkeys(map(describe_entry, entries)) for entries in (desired, actual)]
    missing = [("-", text) for text in expected if text not in observed]
    return missing + [("+", text) for text in observed if text not in expected]


def describe_entry(entry: Mapping[str, Any]) -> str:
    """Return the description of a kernel entry in one line."""
    match entry["kind"]:
        case "namespace":
            return f"namespace {entry['name']}" + ("" if entry["loopback"] else ", lo down")
        case "sysctl":
            return f"sysctl {entry['path'].replace('/', '.')} = {entry['value']}"
        case "bridge":
            faults = {"without its mark": not entry["is_marked"], "open to the node": not entry["is_isolated"]}
            return f"bridge {entry['name']} {_state(entry)}{_list_faults(faults)}"
        case "physical_port":
            return f"physical port {entry['interface']} on {entry['bridge']}"
        case "link":
            mtu = entry["mtu"] or "differs between its ends"
            where = f"{entry['tap'] or 'no tap'} on {entry['bridge'] or 'no bridge'}"
            # A tap that the L2 agent plugs in has no bridge.
            where = entry["tap"] or "no tap" if entry["bridge"] is None else where
            faults = {"arp off": not entry["arp"], "multicast off": not entry["multicast"]}
            faults["open to the node"] = not entry["is_isolated"]
            return f"link {entry['device']} {entry['mac']} mtu {mtu} {_state(entry)}, {where}{_list_faults(faults)}"
        case "switch_port":
            wiring = "its VLAN" if entry["has_tag"] and not entry["is_stuck"] else "not wired"
            device = "" if entry["has_device"] else ", without its device"
            return f"port {entry['name']} of Open vSwitch on {entry['bridge']}, {wiring}{device}"
        case "neutron_rules":
            return f"rules of neutron-l3-agent in {entry['table']} ({entry['family']})"
        case "neutron_route":
            return f"route of neutron-l3-agent to {entry['destination']}"
        case "stray_tap":
            return f"{entry['name']} in the place of a tap"
        case "accept_ra":
            return f"default route by router advertisements on {entry['device']}"
        case "address":
            return f"address {entry['interface']} on {entry['device']}"
        case "connected_route":
            return f"connected route {entry['network']} on {entry['device']}"
        case "device_settings":
            faults = {"not forwarding": not entry["forwarding"], "arp_ignore too high": not entry["arp_ignore"]}
            return f"settings of {entry['device']}{_list_faults(faults)}"
        case "route":
            return f"route {entry['destination']} {', '.join(map(_hop, entry['hops']))}{_table(entry)}"
        case "rule":
            device = f" iif {entry['device']}" if entry["device"] else ""
            return (
                f"rule {entry['priority']} IPv{entry['version']} from {entry['source'] or 'all'}{device}{_table(entry)}"
            )
        case "neighbour":
            return f"neighbour {entry['address']} at {entry['mac']} on {entry['device']}"
        case "table":
            return f"table {entry['name']}" + ("" if entry["is_intact"] else ", changed by another program")
        case "element":
            value = "" if entry["value"] is None else f": {entry['value']}"
            table = "" if entry["table"] == "l3agent" else f"{entry['table']} "
            return f"{table}{entry['name']} {{ {entry['key']}{value} }}"
        case "pending_flush":
            return f"flows of {entry['cause']} {entry['original']} {entry['translated']} to be dropped"
        case kind:
            return " ".join([kind, *(f"{name} {value}" for name, value in entry.items() if name != "kind")])


def _table(entry: Mapping[str, Any]) -> str:
    """Return the routing table of an entry as a suffix; empty for the main table."""
    return f" table {entry['table']}" if "table" in entry else ""


def _list_faults(faults: Mapping[str, bool]) -> str:
    """Return the faults that are present, as a suffix of a description."""
    return "".join(f", {name}" for name, is_present in faults.items() if is_present)


def _section(title: str, rows: Sequence[tuple[str, ...]], header: tuple[str, ...], screen: Screen) -> Iterator[str]:
    yield ""
    yield f"{title}: none" if not rows else screen.paint(title, "bold")
    if rows:
        yield from (f"  {line}" for line in table(header, rows, _indented(screen)))


def _processes(processes: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    rows = [(str(one["pid"]), str(one["command"])) for one in processes["found"]]
    if rows or processes["complete"]:
        yield from _section("processes", rows, ("PID", "COMMAND"), screen)
    if not processes["complete"]:
        yield ""
        yield (
            f"processes: {'others may exist' if rows else 'not visible'}; run this as root in the mount and pid "
            "namespaces of the host"
        )


def _indented(screen: Screen) -> Screen:
    return screen if screen.width is None else Screen(screen.colour, screen.width - 2)


def _links(entries: Entries) -> list[tuple[str, ...]]:
    return [
        (one["device"], one["mac"], str(one["mtu"] or "differs"), _state(one), one["tap"] or "-", one["bridge"] or "-")
        for one in entries
        if one["kind"] == "link"
    ]


def _routes(entries: Entries) -> list[tuple[str, ...]]:
    return [
        (one["destination"], hop["via"] or "on link", hop["device"], str(one.get("table", "main")))
        for one in entries
        if one["kind"] == "route"
        for hop in one["hops"]
    ]


def _translations(entries: Entries) -> list[tuple[str, ...]]:
    return [
        (_TRANSLATIONS[one["name"]], one["key"], one["value"])
        for one in entries
        if one["kind"] == "element" and one["name"] in _TRANSLATIONS
    ]


def _difference(router: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    if router["plan"] is None:
        yield screen.paint("desired against actual: no desired state", "yellow")
        return
    found = differences(router["desired"], router["actual"])
    if not found:
        yield screen.paint("desired against actual: no difference", "green")
        return
    yield screen.paint("desired against actual (- missing, + unexpected)", "bold")
    for sign, text in found:
        yield screen.paint(screen.cut(f"{sign} {text}"), "red" if sign == "-" else "green")
    yield screen.paint("pending repair", "bold")
    yield from (f"  {line}" for line in router["plan"])


def _hop(hop: Mapping[str, Any]) -> str:
    return ("" if hop["via"] is None else f"via {hop['via']} ") + f"dev {hop['device']}"


def _state(entry: Mapping[str, Any]) -> str:
    return "up" if entry["up"] else "down"


def trace_lines(router: Mapping[str, Any], trace: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    """Yield the lines of a packet path, given as :meth:`l3agent.cli.packet_path.PacketPath.to_values` returns it."""
    yield screen.paint(f"router {router['id']}  {router['name']}", "bold")
    rows: list[list[Cell | str]] = [
        [Cell(step["place"], "red" if step["place"] == "drop" else "cyan"), step["text"]] for step in trace["steps"]
    ]
    yield from (f"  {line}" for line in table(("PLACE", "WHAT HAPPENS"), rows, _without_width(screen)))
    style = {"forwarded": "green", "delivered": "green", "dropped": "red"}[trace["verdict"]]
    ends = {
        "forwarded": f"forwarded through {' or '.join(trace['devices'])}",
        "delivered": "delivered to the router itself",
        "dropped": "dropped",
    }
    yield screen.paint(ends[trace["verdict"]], style)
    yield from (f"note: {note}" for note in trace["notes"])


def _without_width(screen: Screen) -> Screen:
    """Return a screen of unlimited width: the end of a sentence may be the reason, so it is not truncated."""
    return Screen(screen.colour)
