# SPDX-License-Identifier: Apache-2.0
"""``l3-dataplane``: the process that changes the kernel. It is never monkey-patched and never imports eventlet."""

from __future__ import annotations

import argparse
import errno
import gc
import logging as stdlib_logging
import os
import signal
import sys
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from l3agent import __version__
from l3agent.cmd.config_files import describe_sources
from l3agent.cmd.directory_guard import DirectoryGuard
from l3agent.cmd.startup import load_config, start_logging
from l3agent.cmd.trust import Restricted, is_trusted, restrict
from l3agent.cmd.uplinks import Uplinks
from l3agent.dataplane.backend import Backend, Backends
from l3agent.dataplane.drift.drift import Drift
from l3agent.dataplane.drift.rotation import Rotation
from l3agent.dataplane.kernel import mounts
from l3agent.dataplane.kernel.closer import DeferredCloser
from l3agent.dataplane.kernel.limits import Limits
from l3agent.dataplane.kernel.listener import Listener
from l3agent.dataplane.kernel.namespace_pool import NamespacePool
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend.announcer import Announcer
from l3agent.dataplane.kernel_backend.backend import KernelBackend
from l3agent.dataplane.kernel_backend.garbage import GarbageCollector
from l3agent.dataplane.kernel_thread import KernelThread
from l3agent.dataplane.operations import Resources
from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.render import SYSCTLS
from l3agent.dataplane.reconcile import Reconciler
from l3agent.dataplane.server import privilege
from l3agent.dataplane.server.log_limit import LineLimit
from l3agent.dataplane.server.server import DataplaneServer
from l3agent.dataplane.server.socket_file import SocketFile
from l3agent.exceptions import AlreadyRunning, ConfigError, L3AgentError, PermissionMissing, UsageError
from l3agent.model.escape import escape_lines
from l3agent.model.interface_drivers import driver_name
from l3agent.model.wire import StateReader
from l3agent.sd_notify import notify_ready

LOG = logging.getLogger(__name__)

EX_SOFTWARE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 70, 75, 77, 78
#: New objects that start a collection of the youngest generation (Python's default is 700).
_GC_THRESHOLD = 10_000
#: Seconds to wait for the rows of OVSDB before the first request; without them the wiring of ports is not checked.
_OVSDB_S = 2.0

_EXIT_WITH_CLIENT = cfg.BoolOpt(
    "exit-with-client", default=False, help="Exit when the agent that started this process has ended."
)


def main(argv: list[str] | None = None) -> int:
    """Run the data plane until SIGTERM or SIGINT; return the exit status."""
    try:
        options = _load_config(sys.argv[1:] if argv is None else argv)
        privilege.check_root()
        if options.ignored:
            LOG.warning("Ignored, since another user than root can write the file: %s", ", ".join(options.ignored))
        _check_mount(options.conf.dataplane)
        with DirectoryGuard(options.conf.dataplane.netns_path):
            return _serve(options.conf, options.socket_owner)
    except ConfigError as exc:
        return _print_error(exc, EX_CONFIG)
    except PermissionMissing as exc:
        return _print_error(exc, EX_NOPERM)
    except AlreadyRunning as exc:
        return _print_error(exc, EX_TEMPFAIL)
    except L3AgentError as exc:
        return _print_error(exc, EX_SOFTWARE)


def _print_error(exc: Exception, status: int) -> int:
    print(f"l3-dataplane: {escape_lines(str(exc))}", file=sys.stderr)
    return status


def _load_config(argv: list[str]) -> Restricted:
    arguments = _parse(argv)

    def read(files: list[str] | None = None) -> Any:
        named = [f"--config-file={path}" for path in (arguments.config_file if files is None else files)]
        directories = [f"--config-dir={path}" for path in arguments.config_dir] if files is None else []
        switches = [name for name in ("--debug", "--exit-with-client") if name in argv]
        return load_config(
            [*named, *directories, *switches],
            prog="l3-dataplane",
            cli_opts=[_EXIT_WITH_CLIENT],
            default_files=files if files is None else (),
        )

    options = restrict(read(), read)
    conf = options.conf
    driver_name(conf.interface_driver)
    # The file and the directory in [DEFAULT] belong to the agent; two processes must not rotate the same file.
    conf.set_override("log_file", _protected_path(conf.dataplane.log_file))
    conf.set_override("log_dir", None)
    conf.set_override("use_stderr", conf.dataplane.log_file is None and not conf.use_journal)
    start_logging(conf, "l3-dataplane", fix_eventlet=False)
    limit = LineLimit()
    for handler in stdlib_logging.getLogger().handlers:
        handler.addFilter(limit)
    return options


def _parse(argv: list[str]) -> argparse.Namespace:
    """Parse the arguments by a closed list: the agent's user chooses them, and some options of oslo.log run code.

    :raises UsageError: an argument is not on the list.
    """
    parser = argparse.ArgumentParser(prog="l3-dataplane", allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config-file", action="append", default=[], help="read this file; may be repeated")
    parser.add_argument("--config-dir", action="append", default=[], help="read *.conf of this directory")
    parser.add_argument("--debug", action="store_true", help="log at level DEBUG")
    parser.add_argument("--exit-with-client", action="store_true", help=_EXIT_WITH_CLIENT.help)
    parser.add_argument("--version", action="version", version=__version__)
    try:
        arguments, unknown = parser.parse_known_args(argv)
    except argparse.ArgumentError as exc:
        raise UsageError(str(exc)) from exc
    if unknown:
        raise UsageError(f"unrecognized arguments: {' '.join(unknown)}")
    return arguments


def _protected_path(path: str | None) -> str | None:
    """Return the path of a file to write, if only root decides where it leads.

    :raises ConfigError: another user can change its directory, it is a symlink, or its directory does not exist.
    """
    if path is None:
        return None
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise ConfigError(f"[dataplane] log_file: {path}: {os.strerror(errno.ENOENT)}")
    if not is_trusted(directory):
        raise ConfigError(f"[dataplane] log_file: {path}: another user than root can change its directory")
    if os.path.islink(path):
        raise ConfigError(f"[dataplane] log_file: {path}: a symlink is not followed")
    return path


def _serve(conf: Any, socket_owner: int | None) -> int:
    path = conf.dataplane.socket
    file = SocketFile(path, socket_owner)
    privilege.raise_descriptor_limit()
    privilege.drop_capabilities()

    # With another interface driver, the device of a host would be any device of this machine with that name.
    has_hosts = conf.standalone.topology and driver_name(conf.interface_driver) == "bridge"
    uplinks = Uplinks(conf.standalone.topology) if has_hosts else None
    try:
        server = DataplaneServer(
            file, kernel_thread=KernelThread(_resources(conf, uplinks)), exit_with_client=conf.exit_with_client
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        signal.signal(signal.SIGHUP, lambda *_: uplinks.reload() if uplinks else None)
        LOG.info(
            "l3-dataplane %s listens on %s, namespaces in %s; configuration: %s",
            __version__,
            path,
            conf.dataplane.netns_path,
            describe_sources(conf),
        )
        notify_ready()
        _tune_garbage_collector()
        server.run()
    except OSError as exc:
        LOG.error("cannot work on this kernel: %s", exc)
        return EX_SOFTWARE
    return 0


def _tune_garbage_collector() -> None:
    """Exclude the objects created so far from garbage collection, and collect the others less often.

    A collection over the objects of a thousand routers takes as long as the work on a hundred; few objects here are
    in reference cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, 20, 50)


def _resources(conf: Any, uplinks: Uplinks | None) -> Resources:
    closer = DeferredCloser()
    driver = load_driver(
        conf.interface_driver,
        integration_bridge=conf.OVS.integration_bridge,
        external_bridge=conf.external_network_bridge,
        use_veth=conf.ovs_use_veth,
    )
    counting = conf.dataplane.count_traffic
    pool = NamespacePool(conf.dataplane.pool_size, SYSCTLS["router"], closer, counting=counting)
    kernel = Kernel(conf.dataplane.netns_path, closer, pool, counting=counting)
    announcer = Announcer(conf.send_arp_for_ha, conf.dataplane.announce_interval, closer.close)
    listener = Listener(conf.dataplane.netns_path) if conf.dataplane.repair_drift else None
    others = [_open_vswitch(conf)] if driver_name(conf.interface_driver) == "openvswitch" else []
    backends = Backends(KernelBackend(kernel, driver, listener), others)
    drift = Drift(
        backends,
        driver,
        repairs_drift=listener is not None,
        reports_all=listener is not None and listener.receives_all,
    )
    garbage = GarbageCollector(kernel, drift.applied.node.uses_bridge)
    reconciler = Reconciler(kernel, backends, driver, announcer, garbage, drift)
    rotation = None if listener is None else Rotation(kernel, drift, reconciler.turns)
    return Resources(
        backends, reconciler, garbage, drift, Limits(), StateReader(), uplinks.rejection if uplinks else None, rotation
    )


def _open_vswitch(conf: Any) -> Backend:
    # Imported only with this driver: it loads the library of Open vSwitch.
    from l3agent.dataplane.ovsdb.backend import OvsdbBackend
    from l3agent.dataplane.ovsdb.jsonrpc import Tls
    from l3agent.dataplane.ovsdb.thread import OvsdbThread

    tls = Tls(conf.OVS.ssl_key_file, conf.OVS.ssl_cert_file, conf.OVS.ssl_ca_cert_file)
    switch = OvsdbThread(conf.OVS.ovsdb_connection, conf.OVS.ovsdb_timeout, tls)
    switch.wait_until_loaded(_OVSDB_S)
    return OvsdbBackend(switch, {conf.OVS.integration_bridge, conf.external_network_bridge})


def _check_mount(options: Any) -> None:
    """Check that the namespaces of this process are visible on the host.

    :raises ConfigError: this process is in a container, and they are not visible.
    """
    fault, in_container = mounts.read_fault(options.netns_path)
    if fault is None or options.allow_private_netns_path:
        return
    if in_container:
        raise ConfigError(f"[dataplane] netns_path: {fault}, or set allow_private_netns_path for a trial")
    LOG.warning("[dataplane] netns_path: %s", fault)


if __name__ == "__main__":
    sys.exit(main())
