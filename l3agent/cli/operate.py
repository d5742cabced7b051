# SPDX-License-Identifier: Apache-2.0
"""Commands that control a running agent: resync, replay, pause, resume and drain."""

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
    """Add the commands."""
    for add in (_add_resync, _add_replay, _add_pause, _add_resume, _add_drain):
        add(commands)


def _add_resync(commands: Commands) -> None:
    command = commands.add(
        "resync",
        _resync,
        "fetch one router, or all routers of this node, from the server again",
        examples="""\
                     all routers: a full sync
            r1       one router; the id of a router not yet on this node is accepted too""",
    )
    add_router_argument(command, all_without=True)
    add_agent_options(command)


def _add_replay(commands: Commands) -> None:
    command = commands.add(
        "replay",
        _replay,
        "process one router again and print the debug log of the update",
        more="""\
The agent fetches the router from the server and applies it to the kernel. Its own log keeps its level.
Exit status 1: the update failed or was refused; 75: it did not finish within --wait seconds.""",
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


def _add_pause(commands: Commands) -> None:
    command = commands.add(
        "pause",
        _pause,
        "suspend a router: no update, no full sync and no drift repair changes it",
        more="""\
Updates of the server are applied on resume. The router continues to forward. It stays paused across restarts of the
agent, until `l3-agentctl resume`.""",
        examples="r1    before manual changes in its namespace",
    )
    add_router_argument(command)
    add_agent_options(command)


def _add_resume(commands: Commands) -> None:
    command = commands.add(
        "resume",
        _resume,
        "end a pause: apply pending updates and revert manual changes",
        examples="r1",
    )
    add_router_argument(command)
    add_agent_options(command)


def _add_drain(commands: Commands) -> None:
    command = commands.add(
        "drain",
        _drain,
        "start no more updates, finish those in progress, and report when l3-agent can be stopped",
        more="""\
Updates of the server stay pending, and the configuration that this agent reports to the server has admin: drained.
Routers continue to forward. To prevent the server from scheduling more routers here, disable the agent there too.
Exit status 75: updates were still in progress after --wait seconds; run it again.""",
        examples="""\
            --wait 300    wait up to five minutes
            --stop        stop l3-agent afterwards
            --undo        resume processing""",
    )
    then = command.add_mutually_exclusive_group()
    then.add_argument("--undo", action="store_true", help="resume processing of all updates")
    then.add_argument("--stop", action="store_true", help="stop l3-agent when no update is in progress")
    command.add_argument(
        "--wait", type=parse_seconds, default=60.0, metavar="SECONDS", help="how long to wait (default: 60)"
    )
    add_agent_options(command)


def _resync(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    status = call_agent(path, {"op": "status"})
    wanted = _find_known_or_new(status["routers"], args.router) if args.router else None
    call_agent(path, {"op": "resync", "router": wanted})
    echo(f"requested from the server: {'router ' + wanted if wanted else 'all routers of this node'}")
    if status["admin"] != "serving":
        echo("the agent is drained: the answer is applied after `l3-agentctl drain --undo`")
    elif wanted in status["paused"]:
        echo("the router is paused: the answer is applied after `l3-agentctl resume`")
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
    echo(f"router {wanted} is paused until `l3-agentctl resume {args.router}`")
    return 0


def _resume(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    status = call_agent(path, {"op": "status"})
    gone = {router: {"name": ""} for router in status["paused"]}
    wanted = find_router(gone | status["routers"], args.router)
    call_agent(path, {"op": "resume", "router": wanted})
    echo(f"router {wanted} is resumed")
    return 0


def _drain(args: argparse.Namespace) -> int:
    path = control_socket_path(args)
    if args.undo:
        call_agent(path, {"op": "drain", "undo": True})
        echo("the agent processes updates again, starting with the pending ones")
        return 0
    deadline = time.monotonic() + args.wait
    while (answer := call_agent(path, {"op": "drain"}))["admin"] != "drained":
        if time.monotonic() > deadline:
            queue = answer["queue"]
            print(
                f"l3-agentctl drain: after {args.wait:g} s {queue['processing']} updates are in progress and "
                f"{queue['waiting']} wait; no update is started; run drain again, or `drain --undo`",
                file=sys.stderr,
            )
            return EX_TEMPFAIL
        time.sleep(_POLL_S)
    suspended = answer["queue"]["suspended"]
    echo(f"drained: no update is in progress{f', {suspended} routers have a pending update' if suspended else ''}")
    if args.stop:
        echo(f"l3-agent, process {call_agent(path, {'op': 'stop'})['pid']}, is stopping; routers continue to forward")
        return 0
    echo("l3-agent can be stopped; routers continue to forward. `l3-agentctl drain --undo` resumes processing")
    return 0
