# SPDX-License-Identifier: Apache-2.0
"""Parts of the machine that some tests need, and why one is missing. Found out by trying, once a session."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.support.rabbit import SCRIPTS
from tests.support.sandbox import Sandbox

_KERNEL_TOOLS = ("unshare", "nsenter", "ip", "nft", "conntrack", "tcpdump")
_OVS_TOOLS = ("ovsdb-server", "ovs-vswitchd", "ovs-vsctl", "ovsdb-tool")
_NEUTRON_TOOLS = ("mariadbd", "ovs-vswitchd", "keepalived", "haproxy", "radvd", "ipset", "arping", "iptables-save")


@functools.cache
def missing_kernel() -> str | None:
    """Say why there can be no network namespace of our own; None when there can."""
    if tools := [tool for tool in _KERNEL_TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(tools)} (tests/install-debian-packages.sh installs them)"
    try:
        with Sandbox() as sandbox:
            # Some machines allow the namespace and forbid everything in it.
            sandbox.run(["ip", "link", "add", "name", "trial0", "type", "veth", "peer", "name", "trial1"])
            sandbox.run(["nft", "add", "table", "ip", "trial"])
    except Exception as exc:
        return f"neither root nor user namespaces that work ({exc})"
    return None


@functools.cache
def missing_broker() -> str | None:
    """Say why there can be no RabbitMQ node of our own; None when there can."""
    if not (SCRIPTS / "rabbitmq-server").exists():
        return "rabbitmq-server is not installed (tests/install-debian-packages.sh installs it)"
    return None


@functools.cache
def missing_openvswitch() -> str | None:
    """Say why there can be no Open vSwitch of our own; None when there can."""
    if tools := [tool for tool in _OVS_TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(tools)} (tests/install-debian-packages.sh installs them)"
    return missing_kernel()


@functools.cache
def missing_neutron() -> str | None:
    """Say why there can be no bed with a real neutron-server; None when there can."""
    if os.geteuid() != 0:
        return "a neutron-server of our own needs root"
    if tools := [tool for tool in _NEUTRON_TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(tools)} (tests/install-debian-packages.sh neutron installs them)"
    return missing_broker() or missing_kernel()


#: As Debian calls it.
BROWSER = "chromium"


@functools.cache
def missing_browser() -> str | None:
    """Say why no page can be looked at; None when one can."""
    if shutil.which(BROWSER) is None:
        return f"{BROWSER} is not installed (tests/install-debian-packages.sh installs it)"
    return None


#: Debian's python3-systemd; the programs under test may live in an environment that cannot see it.
SYSTEMD_BINDING = Path("/usr/lib/python3/dist-packages/systemd")


@functools.cache
def missing_systemd() -> str | None:
    """Say why there can be no systemd of our own; None when there can."""
    if os.geteuid() != 0:
        return "a systemd of our own needs root"
    wanted = ("/lib/systemd/systemd", "/usr/bin/systemd-analyze", "/usr/sbin/logrotate", str(SYSTEMD_BINDING))
    if lacking := [path for path in wanted if not os.path.exists(path)]:
        return f"not installed: {', '.join(lacking)} (tests/install-debian-packages.sh installs them)"
    return missing_kernel()


@functools.cache
def missing_promtool() -> str | None:
    """Say why rules for Prometheus cannot be checked by its own tool; None when they can."""
    return (
        None if shutil.which("promtool") else "not installed: promtool (tests/install-debian-packages.sh installs it)"
    )


_GUEST_TOOLS = ("qemu-system-x86_64", "busybox", "cpio", "modprobe", "depmod", "apt-get", "dpkg-deb")


@functools.cache
def missing_guests() -> str | None:
    """Return why no kernel package can be booted; None when one can."""
    if os.geteuid() != 0:
        return "a guest reads the root file system as root"
    if tools := [tool for tool in _GUEST_TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(tools)} (tests/install-debian-packages.sh installs them)"
    return missing_kernel()


MISSING: dict[str, Callable[[], str | None]] = {
    "browser": missing_browser,
    "guests": missing_guests,
    "kernel": missing_kernel,
    "broker": missing_broker,
    "openvswitch": missing_openvswitch,
    "neutron": missing_neutron,
    "promtool": missing_promtool,
    "systemd": missing_systemd,
}
