# SPDX-License-Identifier: Apache-2.0
"""Commands that inspect a running agent: status, show, plan, trace, traffic and graph."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from l3agent.cli.graph import mermaid_lines, tree_lines
from l3agent.cli.graph_svg import svg
from l3agent.cli.packet_path import Packet, find_path
from l3agent.cli.parser import (
    DATAPLANE_TIMEOUT_S,
    Commands,
    add_agent_options,
    add_json_option,
    add_router_argument,
    control_socket_path,
    echo,
    echo_answer,
    parse_seconds,
    read_configuration,
    resolve_router,
)
from l3agent.cli.processes import find_processes
from l3agent.cli.router_view import router_lines, trace_lines
from l3agent.cli.status_view import not_serving_reasons, status_lines
from l3agent.cli.terminal import Screen
from l3agent.cli.traffic_view import traffic_lines
from l3agent.exceptions import TransientError
from l3agent.model.escape import escape_controls
from l3agent.model.names import ROUTER_KINDS, namespace_name
from l3agent.model.states import Address
from l3agent.ops.control_client import call_agent

EX_TEMPFAIL = 75
_CLEAR = "\x1b[H\x1b[2J"


def add_commands(commands: Commands) -> None:
    """Add the commands."""
    for add in (_add_status, _add_show, _add_plan, _add_trace, _add_traffic, _add_graph):
        add(commands)


def _add_status(commands: Commands) -> None:
    command = commands.add(
        "status",
        _status,
        "show the state of the running agent and its routers",
        more="Routers in error come first. Wide columns are truncated on a terminal, but not in a pipe.",
        examples="""\
            --watch               refresh every 2 seconds until Ctrl-C
            --watch 0.5           refresh twice per second
            --json | jq .queue    for programs
            --exit-code           for scripts: 0 serving, 75 not serving, 69 no agent answers""",
    )
    add_json_option(command)
    group = command.add_mutually_exclusive_group()
    group.add_argument("--exit-code", action="store_true", help="exit with 75 if updates do not reach the kernel")
    group.add_argument(
        "--watch",
        nargs="?",
        const=2.0,
        type=parse_seconds,
        metavar="SECONDS",
        help="refresh periodically (default: every 2 s)",
    )
    add_agent_options(command)


def _add_show(commands: Commands) -> None:
    command = commands.add(
        "show",
        _show,
        "show a router: its actual kernel state and the difference from its desired state",
        examples="""\
            r1                           by name
            6f3c                         by a prefix of its id
            r1 --json | jq .actual       all kernel entries, for programs""",
    )
    add_router_argument(command)
    add_json_option(command)
    add_agent_options(command)


def _add_plan(commands: Commands) -> None:
    command = commands.add(
        "plan",
        _plan,
        "print pending kernel changes as ip and nft commands; change nothing",
        more="A router without a desired state, as its data was refused, is reported on stderr (exit status 1).",
        examples="""\
            r1                   one router
            --all --exit-code    for scripts: 1 if the kernel differs from the desired state""",
    )
    routers = command.add_mutually_exclusive_group()
    routers.add_argument("router", nargs="?", metavar="ROUTER", help="name or id")
    routers.add_argument("--all", action="store_true", help="all routers (the default)")
    command.add_argument("--exit-code", action="store_true", help="exit with 1 if there are pending changes")
    add_json_option(command)
    add_agent_options(command)


def _add_trace(commands: Commands) -> None:
    command = commands.add(
        "trace",
        _trace,
        "show the path of a packet through a router, and where and why it is dropped",
        more="""\
It follows the first packet of a new flow: input device, floating IP, route, source NAT. No packet is sent: the path is
derived from the kernel state that l3agent created; rules and routes of other programs are not considered.
Exit status 1: the packet is dropped.""",
        examples="""\
            r1 10.0.0.5 192.0.2.1                 from an instance to the outside
            r1 192.0.2.1 203.0.113.100 22         from the outside to a floating IP
            r1 10.0.0.5 10.0.9.9 --in qr-1f2e     through another input device
            r1 10.0.0.5 192.0.2.1 --desired       in the desired state""",
    )
    add_router_argument(command)
    command.add_argument("source", metavar="SRC", type=_address, help="source address")
    command.add_argument("destination", metavar="DST", type=_address, help="destination address")
    command.add_argument("port", metavar="PORT", nargs="?", type=_port, help="destination port")
    command.add_argument("--proto", choices=["tcp", "udp", "icmp"], help="default: tcp with a port, else icmp")
    command.add_argument("--in", dest="device", metavar="DEVICE", help="input device (default: from the source)")
    command.add_argument("--desired", action="store_true", help="use the desired state, not the actual one")
    add_json_option(command, "print the steps as JSON")
    add_agent_options(command)


def _add_traffic(commands: Commands) -> None:
    command = commands.add(
        "traffic",
        _traffic,
        "show packets and bytes of the devices and floating IPs of routers",
        more="""\
Counters of a device start at its creation. Floating IPs count traffic from and to the outside if [dataplane]
count_traffic is on, from their association on; a release that changes the rules resets them.""",
        examples="""\
                                 all routers
            r1                   one router
            r1 --json | jq .     for programs, which compute the differences""",
    )
    add_router_argument(command, all_without=True)
    add_json_option(command)
    add_agent_options(command)


def _add_graph(commands: Commands) -> None:
    command = commands.add(
        "graph",
        _graph,
        "draw the routers with their networks, floating IPs and hosts",
        more="An agent with a topology file includes hosts and network names; otherwise ids are shown.",
        examples="""\
                                       a text tree
            --format svg > node.svg    an image
            --format mermaid           a Mermaid chart""",
    )
    command.add_argument("--format", choices=list(_FORMATS), default="text", help="default: text")
    add_agent_options(command)


# Argument types


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text}: expected an IP address") from exc


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text}: expected a port between 1 and 65535")
    return int(text)


# Commands


def _status(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    if args.watch is None:
        status = call_agent(path, {"op": "status"})
        _print_status(args, status, None)
        return EX_TEMPFAIL if args.exit_code and not_serving_reasons(status) else 0
    before: dict[str, Any] | None = None
    try:
        while True:
            try:
                now = call_agent(path, {"op": "status"})
            except TransientError as exc:
                if before is None:
                    raise
                echo(f"{exc}; trying again")  # the agent may be restarting
                time.sleep(args.watch)
                continue
            if sys.stdout.isatty() and not args.json:
                print(end=_CLEAR)
            _print_status(args, now, before)
            before = now
            time.sleep(args.watch)
    except KeyboardInterrupt:
        return 0


def _print_status(args: argparse.Namespace, status: dict[str, Any], before: dict[str, Any] | None) -> None:
    if args.json:
        echo(json.dumps(status, indent=None if args.watch else 2))
    else:
        echo("\n".join(status_lines(status, Screen.of(sys.stdout), before)))


def _show(args: argparse.Namespace) -> int:
    router = _request_router(args)
    pins = read_configuration(args).dataplane.netns_path
    names = [namespace_name(kind, router["id"]) for kind in ROUTER_KINDS]
    router["processes"] = find_processes(*(os.path.join(pins, name) for name in names))
    echo_answer(args, router, lambda: router_lines(router, Screen.of(sys.stdout)))
    return 0


def _request_router(args: argparse.Namespace) -> dict[str, Any]:
    path = control_socket_path(args)
    answer = call_agent(path, {"op": "show", "router": resolve_router(path, args.router)}, timeout=DATAPLANE_TIMEOUT_S)
    router: dict[str, Any] = answer["router"]
    return router


def _plan(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    wanted = resolve_router(path, args.router) if args.router else None
    answer = call_agent(path, {"op": "plan", "router": wanted}, timeout=DATAPLANE_TIMEOUT_S)
    if args.json:
        echo(json.dumps(answer, indent=2))
    else:
        for router, operations in answer["plans"].items():
            echo(f"# router {router}: {len(operations)} operations")
            for operation in operations:
                echo(f"  {operation}")
        if not answer["plans"] and not answer["failed"]:
            print("# no routers on this node")
        for router, error in answer["failed"].items():
            print(f"l3-agentctl plan: router {router}: {escape_controls(error)}", file=sys.stderr)
    changes = args.exit_code and any(answer["plans"].values())
    return 1 if changes or answer["failed"] else 0


def _trace(args: argparse.Namespace) -> int:
    protocol = args.proto or ("icmp" if args.port is None else "tcp")
    if args.source.version != args.destination.version:
        args.parser_error(f"{args.source} and {args.destination} are of different IP versions")
    if protocol == "icmp" and args.port is not None:
        args.parser_error("icmp has no ports")
    router = _request_router(args)
    packet = Packet(args.source, args.destination, protocol, args.port, args.device)
    found = find_path(router["desired" if args.desired else "actual"], packet)
    echo_answer(args, found.to_values(), lambda: trace_lines(router, found.to_values(), Screen.of(sys.stdout)))
    return 1 if found.verdict == "dropped" else 0


def _traffic(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    wanted = resolve_router(path, args.router) if args.router else None
    routers = call_agent(path, {"op": "traffic", "router": wanted}, timeout=DATAPLANE_TIMEOUT_S)["routers"]
    echo_answer(args, routers, lambda: traffic_lines(routers, Screen.of(sys.stdout)))
    return 0


def _graph(args: argparse.Namespace) -> int:
    answer = call_agent(control_socket_path(args), {"op": "topology"})
    echo(_FORMATS[args.format](answer))
    return 0


_FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    "text": lambda topology: "\n".join(tree_lines(topology, Screen.of(sys.stdout))),
    "mermaid": lambda topology: "\n".join(mermaid_lines(topology)),
    "svg": lambda topology: svg(topology).rstrip("\n"),
}


def router_names(args: argparse.Namespace) -> str:
    """Return the names of the routers, one per line; the id if the name is not unique or not printable."""
    routers = call_agent(control_socket_path(args), {"op": "status"})["routers"]
    names = Counter(entry["name"] for entry in routers.values())
    good = {key: entry["name"] for key, entry in routers.items() if names[entry["name"]] == 1}
    return "\n".join(sorted(good[key] if good.get(key, "").isprintable() and good.get(key) else key for key in routers))
