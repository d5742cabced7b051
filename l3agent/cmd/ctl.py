# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl``: the operator's command. It is never monkey-patched and imports no eventlet.

Exit statuses: 0 done; 1 a check or a removal failed, or the agent refused; 64 wrong arguments; 69 no agent answers;
77 a privilege is missing; 78 the configuration is wrong (sysexits.h).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from oslo_config import cfg

from l3agent import __version__
from l3agent.conf import register_opts
from l3agent.exceptions import ConfigError, L3AgentError, PermissionMissing, TransientError
from l3agent.ops.asking import CONTROL_SOCKET, ask_agent
from l3agent.ops.cleanup import refuse_while_at_work, remove_all
from l3agent.standalone import demo

EX_USAGE = 64
#: The first that fits decides the exit status.
_STATUSES = ((ConfigError, 78), (PermissionMissing, 77), (TransientError, 69), (L3AgentError, 1))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["serve"]:
        _serve(arguments[1:])
    args = _parser().parse_args(arguments)
    try:
        return int(args.command(args))
    except L3AgentError as exc:
        print(f"l3-agentctl {args.name}: {exc}", file=sys.stderr)
        return next(status for kind, status in _STATUSES if isinstance(exc, kind))
    except BrokenPipeError:  # the reader, as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EX_USAGE, f"{self.prog}: {message}\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="l3-agentctl", description="See, try and clean up after l3-agent.")
    parser.add_argument("--version", action="version", version=f"l3-agentctl {__version__}")
    commands = parser.add_subparsers(dest="name", metavar="COMMAND", required=True)

    command = commands.add_parser("demo", help="build the sample topology in a sandbox and prove that it works")
    command.add_argument("--keep", action="store_true", help="stay up until Ctrl-C and print how to look around")
    command.set_defaults(command=_demo)

    commands.add_parser("serve", help="serve a topology file to agents over a broker (see `serve --help`)")

    command = commands.add_parser("status", help="what the running agent does")
    command.add_argument("--json", action="store_true", help="print the answer of the agent as it is")
    _add_agent_options(command)
    command.set_defaults(command=_status)

    command = commands.add_parser("plan", help="what the agent would change in the kernel now")
    routers = command.add_mutually_exclusive_group()
    routers.add_argument("router", nargs="?", metavar="ROUTER", help="name or id")
    routers.add_argument("--all", action="store_true", help="all routers (the default)")
    _add_agent_options(command)
    command.set_defaults(command=_plan)

    command = commands.add_parser("cleanup", help="remove every router, host and bridge of ours from this machine")
    command.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    command.add_argument("--netns-path", help="folder of the namespaces (default: that of the configuration)")
    _add_config_options(command)
    command.set_defaults(command=_cleanup)
    return parser


def _add_config_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config-file", action="append", default=[], help="as for l3-agent; may be repeated")
    parser.add_argument("--config-dir", action="append", default=[], help="as for l3-agent; may be repeated")


def _add_agent_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", help=f"control socket of the agent (default: {CONTROL_SOCKET} in its state_path)")
    _add_config_options(parser)


def _demo(args: argparse.Namespace) -> int:
    return demo.run(keep=args.keep)


def _serve(arguments: list[str]) -> NoReturn:
    """Become the process that serves; its first statement patches, so it cannot be imported here."""
    os.execv(sys.executable, [sys.executable, "-m", "l3agent.cmd.serve", *arguments])


def _status(args: argparse.Namespace) -> int:
    status = ask_agent(_control_socket(args), {"op": "status"})
    print(json.dumps(status, indent=2) if args.json else "\n".join(_status_lines(status)))
    return 0


def _plan(args: argparse.Namespace) -> int:
    path = _control_socket(args)
    router_id = _router_id(path, args.router) if args.router else None
    plans = ask_agent(path, {"op": "plan", "router": router_id}, timeout=60)["plans"]
    for router, operations in plans.items():
        print(f"# router {router}: {len(operations)} operations")
        for operation in operations:
            print(f"  {operation}")
    return 0


def _cleanup(args: argparse.Namespace) -> int:
    conf = _configuration(args)
    if os.geteuid() != 0:
        raise PermissionMissing("only root may remove network namespaces; run it with sudo")
    refuse_while_at_work(_control_socket(args), conf.dataplane.socket)
    reports = remove_all(args.netns_path or conf.dataplane.netns_path, dry_run=args.dry_run)
    for report in reports:
        print(f"{'would remove' if args.dry_run else 'removed'} {report.kind} {report.id}")
        for line in report.operations:
            print(f"  {line}")
        if report.error:
            print(f"l3-agentctl cleanup: {report.kind} {report.id}: {report.error}", file=sys.stderr)
    if not reports:
        print("nothing of ours is here")
    return 1 if any(report.error for report in reports) else 0


def _router_id(path: str, router: str) -> str:
    """Return the id of a router of the agent, given that or its name."""
    routers = ask_agent(path, {"op": "status"})["routers"]
    found = [key for key, entry in routers.items() if router in (key, entry["name"])]
    if len(found) != 1:
        raise L3AgentError(f"{router}: {'several routers have' if found else 'the agent has no router with'} this name")
    return str(found[0])


def _control_socket(args: argparse.Namespace) -> str:
    socket = getattr(args, "socket", None)
    return socket or os.path.join(_configuration(args).state_path, CONTROL_SOCKET)


def _configuration(args: argparse.Namespace) -> Any:
    """Read the configuration of the agent.

    :raises ConfigError: a file is missing or wrong.
    """
    conf = cfg.ConfigOpts()
    register_opts(conf)
    argv = [f"--config-file={path}" for path in args.config_file] + [f"--config-dir={path}" for path in args.config_dir]
    try:
        conf(argv, project="l3agent", prog="l3-agent", version=__version__)
    except cfg.Error as exc:
        raise ConfigError(" ".join(str(exc).split())) from exc
    return conf


def _status_lines(status: dict[str, Any]) -> Iterable[str]:
    queue, workers, dataplane = status["queue"], status["workers"], status["dataplane"]
    yield "in sync" if status["in_sync"] else "not in sync yet"
    yield "queue: " + ", ".join(f"{count} {what}" for what, count in queue.items())
    yield f"workers: {workers['busy']} of {workers['size']} busy; full syncs: {status['full_syncs']}"
    yield f"data plane: {'pid ' + str(dataplane['pid']) if dataplane['connected'] else 'not connected'}"
    yield ""
    rows: list[tuple[str, ...]] = [("ROUTER", "NAME", "STATE", "UPDATES", "LAST", "ERROR")]
    rows += [_router_row(key, entry) for key, entry in sorted(status["routers"].items(), key=lambda i: i[1]["name"])]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _router_row(router_id: str, entry: dict[str, Any]) -> tuple[str, ...]:
    age = time.monotonic() - entry["updated_at"] if entry["updated_at"] else None
    last = "-" if age is None else f"{len(entry['last']['operations'])} operations, {age:.0f} s ago"
    return router_id, entry["name"], entry["state"], str(entry["updates"]), last, entry["error"] or ""


if __name__ == "__main__":
    sys.exit(main())
