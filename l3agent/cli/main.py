# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl``: the operator's command. It is never monkey-patched and imports no eventlet.

Exit statuses (sysexits.h): 0 success; 1 a check failed, a plan is not empty, or the agent refused; 64 invalid
arguments; 69 no agent answers; 70 internal error; 75 in progress, or temporarily impossible; 77 a privilege is missing;
78 the configuration is invalid; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from l3agent.cli import check, node, operate, query
from l3agent.cli.completion import completion_script
from l3agent.cli.parser import Commands, Parser, add_agent_options, echo, make_parser, read_configuration
from l3agent.cli.query import router_names
from l3agent.cmd.config_files import describe_sources
from l3agent.exceptions import (
    AgentUnavailable,
    ConfigError,
    InternalError,
    L3AgentError,
    PermissionMissing,
    TransientError,
)
from l3agent.model.escape import escape_controls

#: Exit statuses by exception; the first match applies.
_STATUSES = (
    (ConfigError, 78),
    (PermissionMissing, 77),
    (AgentUnavailable, 69),
    (TransientError, 75),
    (InternalError, 70),
    (L3AgentError, 1),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"] and not {"-h", "--help"} & set(arguments):
        node.serve(arguments[1:])
    args = build_parser().parse_args(arguments)
    try:
        status = int(args.command(args))
        sys.stdout.flush()
        return status
    except L3AgentError as exc:
        for line in f"{exc}{_configuration_note(args, exc)}".splitlines():
            print(f"l3-agentctl {args.name}: {escape_controls(line)}", file=sys.stderr)
        return next(status for kind, status in _STATUSES if isinstance(exc, kind))
    except BrokenPipeError:  # the reader, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def build_parser() -> Parser:
    """Return the argument parser with all commands."""
    root, commands = make_parser()
    query.add_commands(commands)
    operate.add_commands(commands)
    check.add_command(commands)
    node.add_commands(commands)
    _add_completion(commands)
    return root


def _configuration_note(args: argparse.Namespace, exc: L3AgentError) -> str:
    """Return the configuration files that determined the socket of an absent agent; empty if an option did."""
    if not isinstance(exc, AgentUnavailable) or getattr(args, "socket", None) or not hasattr(args, "config_file"):
        return ""
    return f" (configuration: {describe_sources(read_configuration(args))})"


def _add_completion(commands: Commands) -> None:
    command = commands.add(
        "completion",
        _completion,
        "print a shell script that completes commands, options and names of routers",
        examples="""\
            bash > /etc/bash_completion.d/l3-agentctl
            zsh > ~/.l3-agentctl.zsh    and `source` it in ~/.zshrc""",
    )
    command.add_argument("what", choices=["bash", "zsh", "routers"], help="routers: only the names, from the agent")
    add_agent_options(command)


def _completion(args: argparse.Namespace) -> int:
    echo(router_names(args) if args.what == "routers" else completion_script(build_parser(), args.what).rstrip("\n"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
