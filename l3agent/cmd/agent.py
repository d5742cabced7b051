# SPDX-License-Identifier: Apache-2.0
"""``l3-agent``: the agent, in a process that eventlet has patched. This module only composes."""

import warnings

with warnings.catch_warnings():
    # eventlet warns at import that it is deprecated, on which an operator cannot act.
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from oslo_reports.guru_meditation_report import TextGuruMeditation
from oslo_reports.models.with_default_views import ModelWithDefaultViews

from l3agent import __version__
from l3agent.agent.composition import compose
from l3agent.agent.dataplane_client import DataplaneClient
from l3agent.agent.dataplane_process import DataplaneProcess
from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.operator_actions import OperatorActions
from l3agent.agent.registration import BINARY, L3_AGENT_TOPIC
from l3agent.agent.view import AgentView
from l3agent.cmd.config_files import describe_sources
from l3agent.cmd.dataplane_command import dataplane_program
from l3agent.cmd.neutron_options import ineffective_options, legacy_transport_url
from l3agent.cmd.startup import load_config, start_logging
from l3agent.exceptions import AlreadyRunning, ConfigError, PermissionMissing
from l3agent.model.escape import escape_controls
from l3agent.model.interface_drivers import driver_name
from l3agent.ops.control import ControlSocket, require_no_other_agent
from l3agent.ops.control_client import CONTROL_SOCKET
from l3agent.ops.control_operations import TopologyContext, build_operations
from l3agent.ops.guru_report import TITLE, summary
from l3agent.ops.health import Health
from l3agent.ops.history import History
from l3agent.ops.http import HttpServer
from l3agent.ops.metrics import Metrics
from l3agent.ops.run_once import RunOnce
from l3agent.ops.status import status
from l3agent.ops.topology_json import TopologyEncoder
from l3agent.ops.web import build_pages
from l3agent.rpc import get_transport
from l3agent.rpc.observers import on_message, on_result
from l3agent.rpc.redaction import REDACTED_KEYS
from l3agent.rpc.rpc_trace import RpcTrace
from l3agent.service import Service, complete_log_mutex, launch
from l3agent.standalone.standalone_service import StandaloneService

LOG = logging.getLogger(__name__)

EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 75, 77, 78

_CLI_OPTS = [
    cfg.BoolOpt(
        "once",
        default=False,
        help="Run one full sync and exit with status 0, 75 if a router failed, or 69 if --wait was too short.",
    ),
    cfg.FloatOpt(
        "wait", default=60, min=0, help="Seconds that --once waits for the broker, the server and the data plane."
    ),
]
#: Transport of an agent with a topology file; its server is in the same process.
_LOCAL = "local:///l3-agent"
_TRACE_BYTES = 64 << 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until SIGTERM or SIGINT; return the exit status: see ``l3agent.service``."""
    try:
        conf = _load_config(sys.argv[1:] if argv is None else argv)
        return _run(conf)
    except ConfigError as exc:
        return _print_error(exc, EX_CONFIG)
    except PermissionMissing as exc:
        return _print_error(exc, EX_NOPERM)
    except AlreadyRunning as exc:
        return _print_error(exc, EX_TEMPFAIL)


def _print_error(exc: Exception, exit_status: int) -> int:
    for line in str(exc).splitlines():
        print(f"l3-agent: {escape_controls(line)}", file=sys.stderr)
    return exit_status


def _load_config(argv: Sequence[str]) -> Any:
    conf = load_config(argv, prog="l3-agent", cli_opts=_CLI_OPTS)
    if driver_name(conf.interface_driver) != "bridge" and conf.standalone.topology:
        raise ConfigError(
            f"interface_driver: {conf.interface_driver!r}: a topology file needs `bridge`; no L2 agent wires ports here"
        )
    try:
        os.makedirs(conf.state_path, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"state_path: {conf.state_path}: {exc.strerror}") from exc
    complete_log_mutex()
    start_logging(conf, "l3agent")
    return conf


def _run(conf: Any) -> int:
    control_socket = os.path.join(conf.state_path, CONTROL_SOCKET)
    # Checked first: another agent's data plane, trace file and broker queues must not be touched.
    require_no_other_agent(control_socket)
    LOG.info("l3-agent %s is %s on host %s; configuration: %s", __version__, BINARY, conf.host, describe_sources(conf))
    if ineffective := ineffective_options(conf):
        LOG.warning("Options without effect: %s", ineffective)
    transport = get_transport(conf, _LOCAL if conf.standalone.topology else legacy_transport_url(conf))
    _record_messages(conf, transport)
    dataplane = DataplaneClient(conf.dataplane.socket, timeout=conf.dataplane.timeout, process=_dataplane_process(conf))
    agent = L3NATAgent(conf, conf.host, compose(conf, conf.host, dataplane=dataplane, transport=transport))
    view, actions = AgentView(agent), OperatorActions(agent)
    standalone = _standalone_services(conf, transport, dataplane)
    topology_context = _topology_context(standalone)
    control = ControlSocket(control_socket, build_operations(view, actions, dataplane, topology_context))
    service = Service.create(
        binary=BINARY,
        topic=L3_AGENT_TOPIC,
        report_interval=conf.AGENT.report_interval,
        manager=agent,
        conf=conf,
        host=conf.host,
        transport=transport,
        periodic_interval=conf.periodic_interval,
        periodic_fuzzy_delay=conf.periodic_fuzzy_delay,
    )
    launcher = launch(conf, [], restart_method="mutate")
    # Control socket and HTTP server start first, so that they answer while the agent waits for its broker.
    http = _http_services(conf, launcher, service, view, dataplane, topology_context)
    once = [RunOnce(view, wait=conf.wait, end=launcher.services.request_stop)] if conf.once else []
    for one in (control, *http, *once, *standalone, service):
        launcher.launch_service(one)
    TextGuruMeditation.register_section(TITLE, lambda: ModelWithDefaultViews(summary(view, dataplane)))
    try:
        dataplane.start()
        return int(launcher.wait())
    finally:
        dataplane.stop()


def _record_messages(conf: Any, transport: Any) -> None:
    """Record the messages of a transport if ``rpc_trace_file`` is set."""
    path = conf.l3agent.rpc_trace_file
    if not path:
        return
    try:
        on_message(transport, RpcTrace(path, conf.host, limit=_TRACE_BYTES, redacted=REDACTED_KEYS).write)
    except OSError as exc:
        raise ConfigError(f"[l3agent] rpc_trace_file: {path}: {exc.strerror}") from exc


def _http_services(
    conf: Any,
    launcher: Any,
    service: Service,
    view: AgentView,
    dataplane: DataplaneClient,
    topology_context: TopologyContext,
) -> list[Any]:
    """Return the HTTP server and the history; empty if ``[http] port`` is 0."""
    if not conf.http.port:
        return []
    metrics = Metrics(view, dataplane, reload_succeeded=lambda: launcher.is_config_current)
    launcher.hub_monitor.observers.append(metrics.observe_hub_lag)
    on_result(service.transport, metrics.count_message)
    health = Health(
        view,
        dataplane,
        hub_lag=lambda: launcher.hub_monitor.lag_s,
        unhealthy=launcher.services.list_unhealthy,
        broker_connected=lambda: service.conn is not None and service.conn.connected,
    )
    history = History(view)
    topology = TopologyEncoder(view, topology_context)
    pages = build_pages(view.host, lambda: status(view, dataplane), topology.encode, metrics, health, history)
    server = HttpServer(conf.http.bind_address, conf.http.port, pages, allow_remote=conf.http.allow_remote)
    return [server, history]


def _standalone_services(conf: Any, transport: Any, dataplane: DataplaneClient) -> list[StandaloneService]:
    """Return the standalone server, which serves the topology file; empty if no file is configured."""
    if not conf.standalone.topology:
        return []
    interval = conf.standalone.watch_interval
    return [StandaloneService(transport, conf.standalone.topology, dataplane=dataplane, watch_interval=interval)]


def _topology_context(standalone: list[StandaloneService]) -> TopologyContext:
    """Return a function that returns the hosts and network names of the topology files."""

    def topology_context() -> tuple[list[Mapping[str, Any]], Mapping[str, str]]:
        topologies = [one.plugin.topology for one in standalone]
        hosts: list[Mapping[str, Any]] = [
            {"name": one.name, "network": one.network.id, "addresses": list(map(str, one.addresses))}
            for topology in topologies
            for one in topology.hosts
        ]
        return hosts, {network.id: network.name for topology in topologies for network in topology.networks}

    return topology_context


def _dataplane_process(conf: Any) -> DataplaneProcess | None:
    """Return the data-plane process to start if none listens; None if ``spawn_dataplane`` is off."""
    if not conf.dataplane.spawn_dataplane:
        return None
    files = [f"--config-file={path}" for path in conf.config_file or []]
    folders = [f"--config-dir={path}" for path in conf.config_dir or []]
    arguments = [*files, *folders, *(["--debug"] if conf.debug else []), "--exit-with-client"]
    return DataplaneProcess([*dataplane_program(), *arguments], helper=_root_helper(conf))


def _root_helper(conf: Any) -> list[str]:
    """Return the command prefix that grants the privileges of the data plane.

    :raises PermissionMissing: this process has no privilege, root_helper is no command, and no data plane is running.
    """
    if os.geteuid() == 0:
        return []
    helper = shlex.split(conf.AGENT.root_helper or "")
    if helper and shutil.which(helper[0]):
        return helper
    if os.path.exists(conf.dataplane.socket):
        return helper
    raise PermissionMissing(
        f"l3-dataplane needs root and [AGENT] root_helper ({conf.AGENT.root_helper!r}) is no command: start it as "
        f"root, set root_helper, or run l3-agent as root; for a trial, run `l3-agentctl demo`"
    )


if __name__ == "__main__":
    sys.exit(main())
