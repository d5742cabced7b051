# SPDX-License-Identifier: Apache-2.0
"""Commands for a machine: demo, serve, cleanup and release."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

from oslo_config import cfg

from l3agent.cli.cleanup import remove_all, require_stopped
from l3agent.cli.findings import check_ovsdb
from l3agent.cli.parser import Commands, add_config_options, control_socket_path, read_configuration
from l3agent.cli.release import release
from l3agent.demo import run
from l3agent.exceptions import PermissionMissing
from l3agent.model.escape import escape_controls

EX_TEMPFAIL = 75


def add_commands(commands: Commands) -> None:
    """Add the commands."""
    for add in (_add_demo, _add_serve, _add_cleanup, _add_release):
        add(commands)


def _add_demo(commands: Commands) -> None:
    command = commands.add(
        "demo",
        _demo,
        "build the sample topology in a sandbox and test it",
        more="It needs no root, no broker and no server, and leaves no files or namespaces.",
        examples="--keep    keep it running until Ctrl-C, for inspection",
    )
    command.add_argument("--keep", action="store_true", help="run until Ctrl-C and print commands for inspection")


def _add_serve(commands: Commands) -> None:
    command = commands.add(
        "serve",
        None,
        "serve a topology file to agents over a broker, instead of neutron-server",
        more="""\
Agents share the routers of the file; `agent:` of a router in the file binds it to one agent. Changes of the file are
detected periodically, and immediately on SIGHUP. Logging options (--debug, --log-file, ...) are those of l3-agent.""",
        examples="""\
            topology.yaml --transport-url rabbit://guest:guest@127.0.0.1:5672/
            topology.yaml --config-file serve.conf --debug
            topology.yaml --config-file serve.conf --answer-delay 5 --lose-casts 0.5    simulate faults""",
    )
    command.add_argument("topology", metavar="TOPOLOGY", help="topology file (YAML)")
    command.add_argument("--transport-url", metavar="URL", help="broker; overrides transport_url of a file")
    command.add_argument("--answer-delay", metavar="SECONDS", help="for tests of agents: delay each answer")
    command.add_argument("--lose-casts", metavar="SHARE", help="for tests of agents: drop this share of messages")
    command.add_argument("--fail-calls", metavar="SHARE", help="for tests of agents: fail this share of calls")
    add_config_options(command)


def _add_cleanup(commands: Commands) -> None:
    command = commands.add(
        "cleanup",
        _cleanup,
        "remove every router, host and bridge of l3agent from this machine",
        more="It refuses while an agent or a data plane is running, and removes only objects that l3agent created.",
        examples="--dry-run    only print the objects to remove",
    )
    command.add_argument("--dry-run", action="store_true", help="only print what would be removed")
    command.add_argument("--netns-path", help="directory of the namespaces (default: from the configuration)")
    add_config_options(command)


def _add_release(commands: Commands) -> None:
    command = commands.add(
        "release",
        _release,
        "hand the routers back to neutron-l3-agent",
        more="""\
Stop l3-agent and l3-dataplane, run this command, and start neutron-l3-agent while it waits. The rules of l3agent stay
in effect until those of neutron-l3-agent are installed; then they are removed. The command can be repeated.""",
        examples="--timeout 1800    wait half an hour for neutron-l3-agent to build its rules",
    )
    command.add_argument("--timeout", type=float, default=600, help="seconds to wait for its rules (default: 600)")
    command.add_argument("--netns-path", help="directory of the namespaces (default: from the configuration)")
    add_config_options(command)


def serve(arguments: list[str]) -> NoReturn:
    """Replace this process by the server. Its first statement patches the process, so it cannot be imported here."""
    os.execv(sys.executable, [sys.executable, "-m", "l3agent.cmd.serve", *arguments])


def _demo(args: argparse.Namespace) -> int:
    return run.run(keep=args.keep)


def _cleanup(args: argparse.Namespace) -> int:
    conf = read_configuration(args)
    if os.geteuid() != 0:
        raise PermissionMissing("only root may remove network namespaces; run it with sudo")
    require_stopped(control_socket_path(args), conf.dataplane.socket)
    netns_path = args.netns_path or conf.dataplane.netns_path
    reports = remove_all(
        netns_path, dry_run=args.dry_run, options=_config_arguments(conf), driver=_default_driver(conf)
    )
    for report in reports:
        print(f"{'would remove' if args.dry_run else 'removed'} {report.kind} {escape_controls(report.id)}")
        for line in report.operations:
            print(f"  {escape_controls(line)}")
        if report.error:
            failure = escape_controls(f"{report.kind} {report.id}: {report.error}")
            print(f"l3-agentctl cleanup: {failure}", file=sys.stderr)
    if not reports:
        print("no objects of l3agent on this machine")
    return 1 if any(report.error for report in reports) else 0


def _release(args: argparse.Namespace) -> int:
    conf = read_configuration(args)
    if os.geteuid() != 0:
        raise PermissionMissing("only root may hand routers back; run it with sudo")
    require_stopped(control_socket_path(args), conf.dataplane.socket)
    status = 0
    netns_path = args.netns_path or conf.dataplane.netns_path
    for router, reason in release(netns_path, timeout=args.timeout, options=_config_arguments(conf)):
        print(escape_controls(f"router {router}: {reason or 'handed back'}"), flush=True)
        status = EX_TEMPFAIL if reason else status
    return status


def _config_arguments(conf: Any) -> list[str]:
    """Return the arguments that name the files of a configuration, including the default files."""
    return [f"--config-file={path}" for path in conf.config_file or ()] + [
        f"--config-dir={path}" for path in conf.config_dir or ()
    ]


def _default_driver(conf: Any) -> str:
    """Return ``bridge`` if the configuration names no interface driver and Open vSwitch does not run, else empty.

    A trial with a topology file uses Linux bridges, and the configuration may not name that file.
    """
    unnamed = conf.get_location("interface_driver").location is cfg.Locations.opt_default
    return "bridge" if unnamed and check_ovsdb(conf.OVS.ovsdb_connection).state == "fail" else ""
