# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl check``: verifies the requirements of an agent. This module selects the checks and runs them."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from l3agent.cli import findings
from l3agent.cli.findings import Finding, failure
from l3agent.cli.parser import Commands, add_config_options, add_json_option, echo_answer
from l3agent.cli.terminal import Screen
from l3agent.cmd.config_files import describe_sources
from l3agent.cmd.dataplane_command import dataplane_program
from l3agent.cmd.startup import load_config
from l3agent.dataplane.kernel import mounts
from l3agent.exceptions import ConfigError
from l3agent.model.interface_drivers import driver_name
from l3agent.standalone import topology

#: Seconds for a process that runs checks.
_PROBE_S = 60.0


def add_command(commands: Commands) -> None:
    """Add the command."""
    command = commands.add(
        "check",
        _check,
        "check that configuration, kernel, tools, limits, broker and server meet the requirements of the agent",
        more="""\
Prints one line per check, with the exit status to which a failure alone would lead. It changes nothing; the kernel is
tested in a temporary sandbox. It is useful before the first start and without root: a check that needs privileges is
marked `?`. Exit status 1: a check failed.""",
        examples="""\
            --config-file /etc/neutron/l3_agent.ini    with the files of neutron-l3-agent
            --host                                     this machine only: no configuration, no broker
            --json                                     for programs""",
    )
    command.add_argument("--host", action="store_true", help="check this machine only")
    add_json_option(command, "print the findings as data")
    add_config_options(command)


def _check(args: argparse.Namespace) -> int:
    found = list(_collect_findings(args))
    echo_answer(args, findings.findings_to_values(found), lambda: _lines(found))
    return 1 if any(one.state == "fail" for one in found) else 0


def _lines(found: list[Finding]) -> list[str]:
    fails = sum(one.state == "fail" for one in found)
    unknown = sum(one.state == "unknown" for one in found)
    summary = f"{fails} failed" if fails else "all requirements are met"
    more = f", {unknown} could not be checked" if unknown else ""
    return [*findings.lines(found, Screen.of(sys.stdout)), "", summary + more]


def _collect_findings(args: argparse.Namespace) -> Iterator[Finding]:
    if not args.host:
        yield from _check_configuration(args)
    yield from _check_kernel()
    yield from findings.check_limits()
    yield from findings.check_tools()


def _config_arguments(args: argparse.Namespace) -> list[str]:
    return [f"--config-file={path}" for path in args.config_file] + [f"--config-dir={path}" for path in args.config_dir]


def _check_configuration(args: argparse.Namespace) -> Iterator[Finding]:
    try:
        conf = load_config(_config_arguments(args), prog="l3-agent")
        driver = driver_name(conf.interface_driver)
    except ConfigError as exc:
        yield failure("configuration", str(exc), findings.EX_CONFIG)
        return
    yield Finding("configuration", "ok", describe_sources(conf))
    yield findings.check_state_path(conf.state_path)
    yield findings.check_dataplane(
        conf.dataplane.socket,
        spawn=conf.dataplane.spawn_dataplane,
        root_helper=conf.AGENT.root_helper,
        program=dataplane_program(),
    )
    yield _check_netns_path(conf.dataplane)
    if driver == "openvswitch":
        yield findings.check_ovsdb(conf.OVS.ovsdb_connection)
    if conf.standalone.topology:
        yield _check_topology(conf.standalone.topology)
    yield from _check_broker(args)


def _check_netns_path(options: Any) -> Finding:
    what = "netns_path"
    try:
        fault, in_container = mounts.read_fault(options.netns_path)
    except OSError as exc:
        return Finding(what, "unknown", str(exc))
    if fault is None:
        return Finding(what, "ok", options.netns_path)
    if in_container and not options.allow_private_netns_path:
        return failure(what, fault, findings.EX_CONFIG)
    return Finding(what, "note", fault)


def _check_topology(path: str) -> Finding:
    try:
        read = topology.load(path)
    except ConfigError as exc:
        return failure("topology", "; ".join(str(exc).splitlines()), findings.EX_CONFIG)
    return Finding("topology", "ok", f"{path}: {len(read.routers)} routers, {len(read.hosts)} hosts")


def _check_broker(args: argparse.Namespace) -> Iterator[Finding]:
    """Run the checks of broker and server in a separate process, which imports eventlet and the messaging library."""
    done = _run("l3agent.cli.check_broker", *_config_arguments(args))
    if done is None or done.returncode not in (0, findings.EX_CONFIG):
        message = "no answer" if done is None else done.stderr.strip().rpartition("\n")[2]
        yield failure("broker", f"cannot be checked: {message}")
    elif done.returncode == findings.EX_CONFIG:
        yield failure("transport_url", done.stderr.strip(), findings.EX_CONFIG)
    else:
        yield from _broker_findings(json.loads(done.stdout))


def _broker_findings(found: dict[str, Any]) -> Iterator[Finding]:
    for problem in found["unknown"]:
        yield failure("option", problem, findings.EX_CONFIG)
    if found["ineffective_options"]:
        yield Finding("options without effect", "note", found["ineffective_options"])
    yield from findings.check_features(found["features"], found.get("server") or {})
    broker = found.get("broker")
    if broker is None:
        yield Finding("broker and server", "ok", "not needed: the agent serves the topology file itself")
        return
    if broker["error"]:
        yield failure("broker", f"{broker['url']}: {broker['error']}", findings.EX_UNAVAILABLE)
        yield Finding("server", "unknown", "not reachable without a broker")
        return
    yield Finding("broker", "ok", broker["url"])
    if found["server"]["error"]:
        yield failure("server", f"{found['server']['error']}; is neutron-server running?", findings.EX_UNAVAILABLE)
    else:
        yield Finding("server", "ok", "answers")


def _check_kernel() -> Iterator[Finding]:
    done = _run("l3agent.cli.check_kernel")
    if done is not None and done.returncode == 0:
        yield from findings.kernel_findings(json.loads(done.stdout))
    elif done is not None and done.returncode == findings.EX_NOPERM:
        yield Finding("kernel", "unknown", done.stderr.strip())
    else:
        message = "no answer" if done is None else done.stderr.strip().rpartition("\n")[2]
        yield failure("kernel", f"cannot be checked: {message}")


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    argv = [sys.executable, "-m", module, *arguments]
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROBE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
