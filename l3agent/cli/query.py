# SPDX-License-Identifier: Apache-2.0
"""The commands that look at a running agent."""

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
from l3agent.model.names import namespace_name
from l3agent.model.states import Address
from l3agent.ops.control_client import call_agent

EX_TEMPFAIL = 75
_CLEAR = "\x1b[H\x1b[2J"


def add_commands(commands: Commands) -> None:
    """Add them."""
    command = commands.add(
        "status",
        _status,
        "show the routers of the running agent and how it does",
        more="Routers that need a person come first. Wide columns are shortened to the terminal, not to a pipe.",
        examples="""\
            --watch               again every 2 seconds until Ctrl-C
            --watch 0.5           again twice a second
            --json | jq .queue    for programs
            --exit-code           for scripts: 0 serving, 75 not serving, 69 no agent answers""",
    )
    add_json_option(command)
    group = command.add_mutually_exclusive_group()
    group.add_argument("--exit-code", action="store_true", help="end with 75 if updates do not reach the kernel")
    group.add_argument(
        "--watch",
        nargs="?",
        const=2.0,
        type=parse_seconds,
        metavar="SECONDS",
        help="again and again (default: every 2 s)",
    )
    add_agent_options(command)

    command = commands.add(
        "show",
        _show,
        "show all of one router: what the kernel has, and how it differs from what it should have",
        examples="""\
            r1                           by name
            6f3c                         by the first characters of its id
            r1 --json | jq .actual       every entry, as data""",
    )
    add_router_argument(command)
    add_json_option(command)
    add_agent_options(command)

    command = commands.add(
        "plan",
        _plan,
        "print what the agent would change in the kernel now, as ip and nft commands; change nothing",
        more="A router whose wanted state is not known, as the server's data was refused, is named on stderr (exit 1).",
        examples="""\
            r1                   one router
            --all --exit-code    for scripts: 1 when the kernel is not as it should be""",
    )
    routers = command.add_mutually_exclusive_group()
    routers.add_argument("router", nargs="?", metavar="ROUTER", help="name or id")
    routers.add_argument("--all", action="store_true", help="all routers (the default)")
    command.add_argument("--exit-code", action="store_true", help="end with 1 when anything would be changed")
    add_json_option(command)
    add_agent_options(command)

    command = commands.add(
        "trace",
        _trace,
        "tell which way a packet takes through a router, and where it is dropped and why",
        more="""\
It follows the first packet of a new flow: incoming device, floating IP, route, source NAT. No packet is sent: it is
told by what is in the kernel now, as far as l3agent made it; rules and routes of others are not seen.
Exit status 1: the packet is dropped.""",
        examples="""\
            r1 10.0.0.5 192.0.2.1                 a machine to the outside
            r1 192.0.2.1 203.0.113.100 22         the outside to a floating IP
            r1 10.0.0.5 10.0.9.9 --in qr-1f2e     one that comes in by another device
            r1 10.0.0.5 192.0.2.1 --desired       by what should be there""",
    )
    add_router_argument(command)
    command.add_argument("source", metavar="SRC", type=_address, help="address of the sender")
    command.add_argument("destination", metavar="DST", type=_address, help="address it sends to")
    command.add_argument("port", metavar="PORT", nargs="?", type=_port, help="destination port")
    command.add_argument("--proto", choices=["tcp", "udp", "icmp"], help="default: tcp with a port, else icmp")
    command.add_argument("--in", dest="device", metavar="DEVICE", help="device it comes in by (default: by its source)")
    command.add_argument("--desired", action="store_true", help="by what should be in the kernel, not by what is")
    add_json_option(command, "print the steps as data")
    add_agent_options(command)

    command = commands.add(
        "traffic",
        _traffic,
        "show what went through routers: packets and bytes of their devices and floating IPs",
        more="""\
Devices count since they were made. Floating IPs count what comes from outside and goes there, where [dataplane]
count_traffic is on, since they came to the router; a release that changes the rules begins anew.""",
        examples="""\
                                 all routers
            r1                   one router
            r1 --json | jq .     for programs that take the differences""",
    )
    add_router_argument(command, all_without=True)
    add_json_option(command)
    add_agent_options(command)

    command = commands.add(
        "graph",
        _graph,
        "draw which router has which networks, floating IPs and hosts",
        more="Hosts and names of networks are known to an agent that serves a topology file; else ids are shown.",
        examples="""\
                                       a tree
            --format svg > node.svg    a picture
            --format mermaid           for a page that renders it""",
    )
    command.add_argument("--format", choices=list(_FORMATS), default="text", help="default: text")
    add_agent_options(command)


# What arguments mean


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{text}: expected an IP address") from exc


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text}: expected a port between 1 and 65535")
    return int(text)


# Looking


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
                echo(f"{exc}; trying again")  # it may be back: an agent is restarted under the eyes of its operator
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
    router["processes"] = find_processes(os.path.join(pins, namespace_name("router", router["id"])))
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
            print("# no routers are here")
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
    """Return the names of the routers, one a line; the id of one whose name is not its own, or fits no line."""
    routers = call_agent(control_socket_path(args), {"op": "status"})["routers"]
    names = Counter(entry["name"] for entry in routers.values())
    good = {key: entry["name"] for key, entry in routers.items() if names[entry["name"]] == 1}
    return "\n".join(sorted(good[key] if good.get(key, "").isprintable() and good.get(key) else key for key in routers))
