# SPDX-License-Identifier: Apache-2.0
"""Argument parser of l3-agentctl: help with examples, errors in one line, and options common to several commands."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from oslo_config import cfg

from l3agent import __version__
from l3agent.cmd.config_files import default_config_files
from l3agent.conf import register_opts
from l3agent.exceptions import ConfigError, L3AgentError
from l3agent.model.escape import escape_lines
from l3agent.ops.control_client import CONTROL_SOCKET, call_agent

#: Seconds for requests that include an answer of the data plane.
DATAPLANE_TIMEOUT_S = 90.0

EX_USAGE = 64

_DESCRIPTION = "Inspect, check and control l3-agent; try it in a sandbox, and remove its objects."
_EPILOG = """\
ROUTER is a name, an id, or a unique prefix of an id with at least four characters.

exit statuses:
  0  success          64 invalid arguments     75 in progress, or temporarily
  1  a check failed,  69 no agent answers         impossible; try again
     a plan is not    70 internal error, see   77 a privilege is missing
     empty, or the       the log               78 the configuration is invalid
     agent refused

examples:
  l3-agentctl demo                              run the demo in a sandbox, as any user
  l3-agentctl check                             check the requirements before the first start
  l3-agentctl status --watch                    show the routers, refreshed
  l3-agentctl plan --all --exit-code            print pending changes; exit with 1 if any
  l3-agentctl trace r1 10.0.0.5 192.0.2.1 443   find where a packet is dropped
"""

Function = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """An argument parser that prints errors in one line and exits with 64."""

    def error(self, message: str) -> NoReturn:
        """Print an error and exit."""
        self.exit(EX_USAGE, f"{self.prog}: {message}; see `{self.prog} --help`\n")


class Commands:
    """The commands of the program."""

    def __init__(self, subparsers: Any) -> None:
        self._subparsers = subparsers

    def add(self, name: str, function: Function | None, text: str, *, more: str = "", examples: str = "") -> Parser:
        """Add a command and return its parser.

        :param text: description in one line.
        :param more: further description.
        :param examples: one example per line: arguments, two or more spaces, explanation.
        """
        listed = "".join(f"  l3-agentctl {name} {line.strip()}\n" for line in examples.strip().splitlines())
        command: Parser = self._subparsers.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.\n\n{more.strip()}".strip(),
            epilog=f"examples:\n{listed}" if listed else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.set_defaults(command=function, parser_error=command.error)
        return command


def make_parser() -> tuple[Parser, Commands]:
    """Return the parser of the program, and the object to which commands are added."""
    root = Parser(
        prog="l3-agentctl",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"l3-agentctl {__version__}")
    return root, Commands(root.add_subparsers(dest="name", metavar="COMMAND", required=True))


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the configuration of the agent."""
    parser.add_argument("--config-file", action="append", default=[], help="as for l3-agent; may be repeated")
    parser.add_argument("--config-dir", action="append", default=[], help="as for l3-agent; may be repeated")


def add_agent_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that determine the control socket of the agent."""
    parser.add_argument("--socket", help=f"control socket of the agent (default: {CONTROL_SOCKET} in its state_path)")
    add_config_options(parser)


def add_router_argument(command: argparse.ArgumentParser, *, all_without: bool = False) -> None:
    """Add the argument ROUTER.

    :param all_without: make it optional; without it the command applies to all routers.
    """
    if all_without:
        command.add_argument("router", nargs="?", metavar="ROUTER", help="name or id (default: all)")
    else:
        command.add_argument("router", metavar="ROUTER", help="name or id")


def add_json_option(command: argparse.ArgumentParser, text: str = "print the answer of the agent as JSON") -> None:
    """Add the option ``--json``, which :func:`echo_answer` evaluates.

    :param text: help of the option.
    """
    command.add_argument("--json", action="store_true", help=text)


def parse_seconds(text: str) -> float:
    """Return the seconds that an argument specifies."""
    value = float(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text}: expected seconds between 0.1 and 86400")
    return value


def read_configuration(args: argparse.Namespace) -> Any:
    """Read the configuration of the agent.

    :raises ConfigError: a file is missing or invalid.
    """
    conf = cfg.ConfigOpts()
    register_opts(conf)
    argv = [f"--config-file={path}" for path in args.config_file] + [f"--config-dir={path}" for path in args.config_dir]
    try:
        conf(
            argv,
            project="l3agent",
            prog="l3-agent",
            version=__version__,
            default_config_files=default_config_files(),
            default_config_dirs=[],
        )
    except cfg.Error as exc:
        raise ConfigError(" ".join(str(exc).split())) from exc
    return conf


def control_socket_path(args: argparse.Namespace) -> str:
    """Return the path of the agent's control socket."""
    return getattr(args, "socket", None) or os.path.join(read_configuration(args).state_path, CONTROL_SOCKET)


def find_router(routers: Mapping[str, Mapping[str, Any]], wanted: str) -> str:
    """Return the id of the router with an id, a name or a prefix of an id.

    :raises L3AgentError: no router matches, or several do.
    """
    found = [key for key, entry in routers.items() if wanted in (key, entry["name"])]
    found = found or [key for key in routers if len(wanted) >= 4 and key.startswith(wanted)]
    if len(found) > 1:
        raise L3AgentError(f"{wanted}: several routers match: {', '.join(sorted(found)[:4])}; use an id")
    if not found:
        raise L3AgentError(f"{wanted}: no such router on this node; `l3-agentctl status` lists them")
    return found[0]


def resolve_router(path: str, wanted: str) -> str:
    """Return the id of a router of the agent that listens on ``path``; see :func:`find_router`."""
    return find_router(call_agent(path, {"op": "status"})["routers"], wanted)


def echo(text: str) -> None:
    """Print text with escaped control characters, and flush."""
    print(escape_lines(text, colour=True))
    sys.stdout.flush()


def echo_answer(args: argparse.Namespace, answer: Any, lines: Callable[[], Iterable[str]]) -> None:
    """Print an answer as JSON with ``--json``, else as the given lines."""
    echo(json.dumps(answer, indent=2) if args.json else "\n".join(lines()))
