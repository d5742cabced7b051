# SPDX-License-Identifier: Apache-2.0
"""The commands that have a running agent do something, or leave it."""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Iterator
from typing import Any

from l3agent.cli.parser import (
    DATAPLANE_TIMEOUT_S,
    Commands,
    add_agent_options,
    add_json_option,
    add_router_argument,
    control_socket_path,
    echo,
    echo_answer,
    find_router,
    parse_seconds,
    resolve_router,
)
from l3agent.exceptions import L3AgentError
from l3agent.ops.control_client import call_agent

EX_TEMPFAIL = 75
_POLL_S = 0.2


def add_commands(commands: Commands) -> None:
    """Add them."""
    command = commands.add(
        "resync",
        _resync,
        "ask the server again, for one router or for all that belongs on this node",
        examples="""\
                     all: a full sync
            r1       only this one; an id that is not here yet will do too""",
    )
    add_router_argument(command, all_without=True)
    add_agent_options(command)

    command = commands.add(
        "replay",
        _replay,
        "work on one router once more and show what a debug log says of it",
        more="""\
The server is asked for it, the kernel is made to follow. The log of the agent itself has no more of it than of any
other update. Exit status 1: it failed or was refused; 75: it was not done after --wait seconds.""",
        examples="""\
            r1
            r1 --json | jq .timings""",
    )
    add_router_argument(command)
    command.add_argument(
        "--wait", type=parse_seconds, default=60.0, metavar="SECONDS", help="how long to wait (default: 60)"
    )
    add_json_option(command)
    add_agent_options(command)

    command = commands.add(
        "pause",
        _pause,
        "leave a router alone: no update, no full sync and no repair touches it",
        more="""\
What the server says meanwhile is remembered. The router forwards on. It stays paused over a restart of the agent,
until `l3-agentctl resume`.""",
        examples="r1    before something is tried by hand in its namespace",
    )
    add_router_argument(command)
    add_agent_options(command)

    command = commands.add(
        "resume",
        _resume,
        "end a pause: do what the server said meanwhile, undo what was done by hand",
        examples="r1",
    )
    add_router_argument(command)
    add_agent_options(command)

    command = commands.add(
        "drain",
        _drain,
        "take no more work, finish what is in hand, and say when l3-agent can be stopped",
        more="""\
What the server says meanwhile is remembered, and the server sees admin: drained in the configuration of this agent.
Routers stay and forward on. To keep the server from placing more of them here, disable the agent there too.
Exit status 75: work was still in hand after --wait seconds; ask again.""",
        examples="""\
            --wait 300    give the work five minutes
            --stop        and stop l3-agent then
            --undo        take up work again""",
    )
    then = command.add_mutually_exclusive_group()
    then.add_argument("--undo", action="store_true", help="go on with everything")
    then.add_argument("--stop", action="store_true", help="stop l3-agent when nothing is in hand")
    command.add_argument(
        "--wait", type=parse_seconds, default=60.0, metavar="SECONDS", help="how long to wait (default: 60)"
    )
    add_agent_options(command)


def _resync(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    status = call_agent(path, {"op": "status"})
    wanted = _find_known_or_new(status["routers"], args.router) if args.router else None
    call_agent(path, {"op": "resync", "router": wanted})
    echo(f"the server is asked for {'router ' + wanted if wanted else 'everything on this node'}")
    if status["admin"] != "serving":
        echo("the agent is drained: what the server answers is done after `l3-agentctl drain --undo`")
    elif wanted in status["paused"]:
        echo("the router is paused: what the server answers is done after `l3-agentctl resume`")
    return 0


def _find_known_or_new(routers: dict[str, Any], wanted: str) -> str:
    try:
        return find_router(routers, wanted)
    except L3AgentError:
        try:
            return str(uuid.UUID(wanted))
        except ValueError:
            pass
        raise


def _replay(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    wanted = _find_known_or_new(call_agent(path, {"op": "status"})["routers"], args.router)
    request = {"op": "replay", "router": wanted, "timeout": args.wait}
    answer = call_agent(path, request, timeout=args.wait + DATAPLANE_TIMEOUT_S)["replay"]
    echo_answer(args, answer, lambda: _replay_lines(answer))
    return 0 if answer["result"] == "ok" else 1


def _replay_lines(answer: dict[str, Any]) -> Iterator[str]:
    yield from answer["log"]
    times = ", ".join(f"{phase} {1000 * took:.1f} ms" for phase, took in answer["timings"].items())
    yield f"{answer['action']}: {answer['result']}, {answer['operations']} operations; {times}"
    if answer["error"]:
        yield answer["error"]


def _pause(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    wanted = resolve_router(path, args.router)
    call_agent(path, {"op": "pause", "router": wanted}, timeout=DATAPLANE_TIMEOUT_S)
    echo(f"router {wanted} is left alone until `l3-agentctl resume {args.router}`")
    return 0


def _resume(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    status = call_agent(path, {"op": "status"})
    gone = {router: {"name": ""} for router in status["paused"]}
    wanted = find_router(gone | status["routers"], args.router)
    call_agent(path, {"op": "resume", "router": wanted})
    echo(f"router {wanted} is served again")
    return 0


def _drain(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    if args.undo:
        call_agent(path, {"op": "drain", "undo": True})
        echo("the agent takes work again, first what it was told meanwhile")
        return 0
    deadline = time.monotonic() + args.wait
    while (answer := call_agent(path, {"op": "drain"}))["admin"] != "drained":
        if time.monotonic() > deadline:
            queue = answer["queue"]
            print(
                f"l3-agentctl drain: after {args.wait:g} s {queue['processing']} routers are worked on and "
                f"{queue['waiting']} wait; no new work is taken; ask again, or `drain --undo`",
                file=sys.stderr,
            )
            return EX_TEMPFAIL
        time.sleep(_POLL_S)
    suspended = answer["queue"]["suspended"]
    echo(f"drained: no update is in progress{f', {suspended} routers have a pending update' if suspended else ''}")
    if args.stop:
        echo(f"l3-agent, process {call_agent(path, {'op': 'stop'})['pid']}, is stopping; routers forward on")
        return 0
    echo("l3-agent can be stopped; routers forward on. `l3-agentctl drain --undo` takes up work again")
    return 0
