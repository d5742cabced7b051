# SPDX-License-Identifier: Apache-2.0
"""Findings of ``l3-agentctl check``, and the checks that run in its own process.

The checks work without root and without a configuration: a check that lacks a privilege reports ``unknown``, which is
not a failure.
"""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import socket as socket_module
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from l3agent.cli.terminal import Cell, Screen, table

EX_OK, EX_FAILED, EX_UNAVAILABLE, EX_NOPERM, EX_CONFIG = 0, 1, 69, 77, 78

#: Seconds for a test connection.
_PROBE_S = 3.0
#: Seconds for a root helper that starts l3-dataplane.
_HELPER_S = 20.0
#: File descriptors per router in the data plane.
_PER_ROUTER = 4
_FEW_DESCRIPTORS, _ENOUGH_DESCRIPTORS = 1024, 65536
#: The kernel's default is 1024 neighbours for all namespaces together (arp(7)). A router needs one per machine with
#: which it communicates, and a tenant that scans a /24 adds 256 while they are being resolved.
_NEIGHBOURS_PER_ROUTER, _ENOUGH_NEIGHBOURS = 256, 8192
#: The feature of a service plug-in of the server (``neutron_lib.plugins.constants``).
_PLUGIN_FEATURES: Mapping[str, str] = {
    "CONNTRACKHELPER": "conntrack_helpers",
    "NDPPROXY": "ndp_proxy",
    "PORTFORWARDING": "port_forwarding",
    "QOS": "qos",
}
_FEW_ROUTERS = 32
_STYLES = {"ok": "green", "note": "yellow", "fail": "red", "unknown": "dim"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check.

    :param state: ``note`` works but may need attention; ``unknown`` could not be checked.
    :param exit_status: exit status to which this failure alone would lead; 0 unless ``state`` is ``fail``.
    """

    what: str
    state: Literal["ok", "note", "fail", "unknown"]
    text: str
    exit_status: int = EX_OK


def failure(what: str, text: str, exit_status: int = EX_FAILED) -> Finding:
    """Return a finding that prevents the agent from working."""
    return Finding(what, "fail", text, exit_status)


def kernel_findings(trials: Iterable[tuple[str, str, str]]) -> Iterator[Finding]:
    """Yield one finding per kernel check, given as name, state (``ok``, ``note`` or ``fail``) and text."""
    for name, state, text in trials:
        what = f"kernel: {name}"
        yield failure(what, text) if state == "fail" else Finding(what, "note" if state == "note" else "ok", text)


def check_limits() -> Iterator[Finding]:
    """Yield the limits of the host that many routers can exhaust."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    text = f"{'unlimited' if unlimited else hard}, enough for about {_ENOUGH_DESCRIPTORS // _PER_ROUTER} routers"
    if not unlimited and hard < _ENOUGH_DESCRIPTORS:
        text = f"{hard}, enough for about {hard // _PER_ROUTER} routers; raise LimitNOFILE of l3-dataplane for more"
    if not unlimited and hard < _FEW_DESCRIPTORS:
        yield failure("limit: descriptors", text)
    else:
        yield Finding("limit: descriptors", "ok" if unlimited or hard >= _ENOUGH_DESCRIPTORS else "note", text)
    yield from map(_check_neighbour_table, ("ipv4", "ipv6"))
    yield _check_bridge_filter()


def _check_neighbour_table(family: str) -> Finding:
    name = f"net.{family}.neigh.default.gc_thresh3"
    what = f"limit: neighbours {family}"
    limit = _read_number(Path("/proc/sys", *name.split(".")))
    if limit is None:
        return Finding(what, "unknown", f"cannot read {name}; all routers of a host share this table")
    routers = _count_routers()
    recommended = max(_ENOUGH_NEIGHBOURS, 1 << (routers * _NEIGHBOURS_PER_ROUTER - 1).bit_length())
    if limit < recommended:
        advice = f"for {routers} routers `sysctl -w {_neighbour_sysctls(family, recommended)}`"
        text = f"{limit} entries for the machines behind all routers; {advice}"
        return Finding(what, "note", text)
    return Finding(what, "ok", f"{limit} entries for the machines behind all routers, enough for {routers} routers")


def _neighbour_sysctls(family: str, limit: int) -> str:
    """Return the sysctls of a neighbour table.

    Garbage collection starts at a quarter of the limit and becomes aggressive at half of it (arp(7)).
    """
    place = f"net.{family}.neigh.default.gc_thresh"
    return f"{place}1={limit // 4} {place}2={limit // 2} {place}3={limit}"


def _count_routers() -> int:
    """Return the number of router namespaces on this node, at least that of a small node."""
    try:
        names = os.listdir("/run/netns")
    except OSError:
        names = []
    return max(_FEW_ROUTERS, sum(name.startswith("qrouter-") for name in names))


def _check_bridge_filter() -> Finding:
    what = "bridges: filter of the host"
    value = _read_number(Path("/proc/sys/net/bridge/bridge-nf-call-iptables"))
    if value:
        return Finding(what, "note", "br_netfilter is on: packet filter rules of the host apply to bridged frames")
    return Finding(what, "ok", "does not apply to bridged frames")


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def check_tools() -> Iterator[Finding]:
    """Yield the programs that operators need; the agent itself runs none of them."""
    for name, why in (("ip", "commands of `plan`"), ("nft", "commands of `plan`"), ("conntrack", "to list flows")):
        found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
        text = found or f"not found; only operators need it: {why}"
        yield Finding(f"tool: {name}", "ok" if found else "note", text)


def check_features(requested: Mapping[str, list[str]], server: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield one finding per feature that is requested and that this agent does not serve.

    :param requested: options that request a feature, by feature.
    :param server: service plug-ins of the server (``plugins``) and number of HA routers of this node (``ha_routers``);
        empty without an answer.
    """
    reasons = {feature: [f"requested by {', '.join(options)}"] for feature, options in requested.items()}
    for plugin in server.get("plugins", ()):
        if feature := _PLUGIN_FEATURES.get(plugin):
            reasons.setdefault(feature, []).append(f"the server has the service plug-in {plugin}")
    if count := server.get("ha_routers"):
        reasons.setdefault("ha", []).append(f"the server has {count} HA routers for this node")
    for feature, texts in sorted(reasons.items()):
        yield Finding(f"feature: {feature}", "note", f"not served by this agent; {'; '.join(texts)}")
    if not reasons:
        yield Finding("features", "ok", "no unserved feature is requested")


def check_state_path(folder: str) -> Finding:
    """Check that the agent can use its state directory."""
    what = "state_path"
    path = Path(folder)
    if not path.exists():
        parent = next(one for one in path.parents if one.exists())
        if os.access(parent, os.W_OK):
            return Finding(what, "ok", f"{folder} will be created")
        return Finding(what, "unknown", f"{folder} does not exist, and this user may not create it in {parent}")
    if not path.is_dir():
        return failure(what, f"{folder} is not a directory", EX_CONFIG)
    if len(os.fsencode(folder)) > 80:
        return failure(what, f"{folder}: too long for the path of a socket (unix(7): 107 bytes)", EX_CONFIG)
    free = shutil.disk_usage(path).free
    if not free:
        return failure(what, f"{folder}: no space left")
    if not os.access(path, os.W_OK):
        return Finding(what, "unknown", f"this user may not write to {folder}; the user of l3-agent must")
    return Finding(what, "ok", folder)


def check_dataplane(socket: str, *, spawn: bool, root_helper: str, program: Sequence[str]) -> Finding:
    """Check how the data plane is started; a root helper is run with ``--version``.

    :param program: command of l3-dataplane; with ``--version`` it only prints its version.
    """
    what = "l3-dataplane"
    if os.path.exists(socket):
        return Finding(what, "ok", f"{socket} exists")
    if not spawn:
        return failure(
            what, f"[dataplane] spawn_dataplane is off and no process listens on {socket}: start it", EX_UNAVAILABLE
        )
    if os.geteuid() == 0:
        return Finding(what, "ok", "l3-agent as root starts it")
    helper = shlex.split(root_helper or "")
    if helper and shutil.which(helper[0]):
        return _check_root_helper(what, [*helper, *program, "--version"])
    text = f"this user lacks the privilege and [AGENT] root_helper ({root_helper!r}) is no command: start it as root"
    return failure(what, text, EX_NOPERM)


def _check_root_helper(what: str, argv: list[str]) -> Finding:
    command = shlex.join(argv)
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_HELPER_S, check=False, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return failure(what, f"`{command}`: {exc}", EX_NOPERM)
    if done.returncode == 0:
        return Finding(what, "ok", f"l3-agent starts it with `{shlex.join(argv[:-1])}`")
    output = " / ".join(done.stderr.decode(errors="replace").split("\n")).strip(" /")
    return failure(what, f"`{command}`: exit status {done.returncode}: {output or 'no message'}", EX_NOPERM)


def check_ovsdb(remote: str) -> Finding:
    """Check that the database of Open vSwitch listens on the address that the data plane uses."""
    what = "Open vSwitch"
    kind, _, place = remote.partition(":")
    try:
        if kind == "unix":
            with socket_module.socket(socket_module.AF_UNIX) as trial:
                trial.settimeout(_PROBE_S)
                trial.connect(place)
        else:
            host, _, port = place.rpartition(":")
            socket_module.create_connection((host.strip("[]"), int(port)), _PROBE_S).close()
    except PermissionError:
        return Finding(what, "unknown", f"this user may not connect to {remote}; l3-dataplane must")
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        advice = "start openvswitch-switch, or correct [OVS] ovsdb_connection"
        return failure(what, f"OVSDB at {remote}: {reason}; {advice}", EX_UNAVAILABLE)
    return Finding(what, "ok", f"OVSDB listens at {remote}")


def lines(findings: Iterable[Finding], screen: Screen) -> list[str]:
    """Return the findings as a table."""
    rows: list[list[Cell | str]] = [
        [Cell({"fail": "FAIL", "unknown": "?"}.get(one.state, one.state), _STYLES[one.state]), str(one.exit_status),
         one.what, one.text]
        for one in findings
    ]  # fmt: skip
    # Not truncated: the end of a line is the advice.
    return table(("", "EXIT", "WHAT", "FOUND"), rows, Screen(screen.colour))


def findings_to_values(findings: Iterable[Finding]) -> list[Mapping[str, Any]]:
    """Return the findings as plain values for JSON."""
    return [asdict(one) for one in findings]
