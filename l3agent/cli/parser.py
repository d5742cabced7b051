# SPDX-License-Identifier: Apache-2.0
"""The form of the commands of l3-agentctl: help with examples, wrong arguments in one line, options that many have."""

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

#: Seconds for what the data plane has to answer too.
DATAPLANE_TIMEOUT_S = 90.0

EX_USAGE = 64

_DESCRIPTION = "See, check and steer l3-agent; try it, and clean up after it."
_EPILOG = """\
ROUTER is a name or an id; the first characters of an id do where they are unique.

exit statuses:
  0  done             64 wrong arguments       75 not done yet, or not to be
  1  a check or a     69 no agent answers         done now; try again
     plan found       70 an error of l3agent,  77 a privilege is missing
     something, or       the log has it        78 the configuration is wrong
     it was refused

examples:
  l3-agentctl demo                              try all of it, as any user, in a sandbox
  l3-agentctl check                             what is missing, before the first start
  l3-agentctl status --watch                    the routers, live
  l3-agentctl plan --all --exit-code            what would be changed; 1 when anything would
  l3-agentctl trace r1 10.0.0.5 192.0.2.1 443   why does my packet not arrive?
"""

Function = Callable[[argparse.Namespace], int]


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line and ends with 64."""

    def error(self, message: str) -> NoReturn:
        """End the program."""
        self.exit(EX_USAGE, f"{self.prog}: {message}; see `{self.prog} --help`\n")


class Commands:
    """Takes the commands."""

    def __init__(self, subparsers: Any) -> None:
        self._subparsers = subparsers

    def add(self, name: str, function: Function | None, text: str, *, more: str = "", examples: str = "") -> Parser:
        """Add a command and return its parser.

        :param text: what it does, in one line.
        :param more: the rest of its description.
        :param examples: one a line: the arguments, two spaces or more, what that does.
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
    """Return the parser of the program and what takes its commands."""
    root = Parser(
        prog="l3-agentctl",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"l3-agentctl {__version__}")
    return root, Commands(root.add_subparsers(dest="name", metavar="COMMAND", required=True))


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add what tells the configuration of the agent."""
    parser.add_argument("--config-file", action="append", default=[], help="as for l3-agent; may be repeated")
    parser.add_argument("--config-dir", action="append", default=[], help="as for l3-agent; may be repeated")


def add_agent_options(parser: argparse.ArgumentParser) -> None:
    """Add what tells where the agent listens."""
    parser.add_argument("--socket", help=f"control socket of the agent (default: {CONTROL_SOCKET} in its state_path)")
    add_config_options(parser)


def add_router_argument(command: argparse.ArgumentParser, *, all_without: bool = False) -> None:
    """Add the router that a command is about.

    :param all_without: it may be left out, and all are meant then.
    """
    if all_without:
        command.add_argument("router", nargs="?", metavar="ROUTER", help="name or id (default: all)")
    else:
        command.add_argument("router", metavar="ROUTER", help="name or id")


def add_json_option(command: argparse.ArgumentParser, text: str = "print the answer of the agent as it is") -> None:
    """Add the option that has :func:`echo_answer` speak to programs.

    :param text: what it does.
    """
    command.add_argument("--json", action="store_true", help=text)


def parse_seconds(text: str) -> float:
    """Return the seconds that an argument means."""
    value = float(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text}: expected seconds between 0.1 and 86400")
    return value


def read_configuration(args: argparse.Namespace) -> Any:
    """Read the configuration of the agent.

    :raises ConfigError: a file is missing or wrong.
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
    """Return where the agent listens."""
    return getattr(args, "socket", None) or os.path.join(read_configuration(args).state_path, CONTROL_SOCKET)


def find_router(routers: Mapping[str, Mapping[str, Any]], wanted: str) -> str:
    """Return the id of one of some routers by its id, its name or the first characters of its id.

    :raises L3AgentError: none fits, or several do.
    """
    found = [key for key, entry in routers.items() if wanted in (key, entry["name"])]
    found = found or [key for key in routers if len(wanted) >= 4 and key.startswith(wanted)]
    if len(found) > 1:
        raise L3AgentError(f"{wanted}: several routers fit: {', '.join(sorted(found)[:4])}; name the id")
    if not found:
        raise L3AgentError(f"{wanted}: the agent has no such router; `l3-agentctl status` lists them")
    return found[0]


def resolve_router(path: str, wanted: str) -> str:
    """Return the id of a router of the agent that listens on ``path``."""
    return find_router(call_agent(path, {"op": "status"})["routers"], wanted)


def echo(text: str) -> None:
    """Print a line at once."""
    print(escape_lines(text, colour=True))
    sys.stdout.flush()


def echo_answer(args: argparse.Namespace, answer: Any, lines: Callable[[], Iterable[str]]) -> None:
    """Print an answer as data where ``--json`` asks for it, else as lines for people."""
    echo(json.dumps(answer, indent=2) if args.json else "\n".join(lines()))
