# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl serve``: the standalone server as a separate process, for several agents on one broker."""

import warnings

with warnings.catch_warnings():
    # eventlet warns at import that it is deprecated, on which an operator cannot act.
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg

from l3agent.cmd.startup import load_config, start_logging
from l3agent.exceptions import ConfigError, UsageError
from l3agent.model.escape import escape_controls
from l3agent.rpc import get_transport
from l3agent.service import complete_log_mutex, launch
from l3agent.standalone.bindings import BindingsFile
from l3agent.standalone.faults import Faults
from l3agent.standalone.standalone_service import StandaloneService

EX_USAGE, EX_CONFIG = 64, 78

#: File in ``state_path`` that binds routers to agents.
_BINDINGS = "standalone-agents.json"

_CLI_OPTS = [
    cfg.StrOpt(
        "topology_file", positional=True, required=True, metavar="TOPOLOGY", help="Topology file (YAML) to serve."
    ),
    cfg.StrOpt(
        "transport-url",
        dest="broker",
        metavar="URL",
        help="Message broker, such as rabbit://user:password@host:5672/; overrides transport_url of a file.",
    ),
    cfg.FloatOpt(
        "answer-delay", default=0, min=0, max=3600, help="For tests of agents: delay each answer by this many seconds."
    ),
    cfg.FloatOpt(
        "lose-casts", default=0, min=0, max=1, help="For tests of agents: drop this share of the messages to them."
    ),
    cfg.FloatOpt("fail-calls", default=0, min=0, max=1, help="For tests of agents: fail this share of their calls."),
]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status: 64 invalid arguments, 78 invalid file, option or URL."""
    try:
        conf = _load_config(sys.argv[1:] if argv is None else argv)
        service = _service(conf)
    except ConfigError as exc:
        lines = (f"l3-agentctl serve: {escape_controls(line)}" for line in str(exc).splitlines())
        print("\n".join(lines), file=sys.stderr)
        return EX_USAGE if isinstance(exc, UsageError) else EX_CONFIG
    return int(launch(conf, service, restart_method="mutate").wait())


def _load_config(argv: Sequence[str]) -> Any:
    conf = load_config(argv, prog="l3-agentctl serve", cli_opts=_CLI_OPTS)
    complete_log_mutex()
    start_logging(conf, "l3agent")
    return conf


def _service(conf: Any) -> StandaloneService:
    transport = get_transport(conf, conf.broker)
    if (conf.broker or conf.transport_url).startswith("local:"):
        raise ConfigError(
            "transport_url: local:// reaches no agent outside this process; set a broker such as rabbit://..."
        )
    return StandaloneService(
        transport,
        conf.topology_file,
        watch_interval=conf.standalone.watch_interval,
        host=f"standalone-{conf.host}",
        faults=Faults(conf.answer_delay, conf.lose_casts, conf.fail_calls),
        bindings=BindingsFile(Path(conf.state_path) / _BINDINGS),
    )


if __name__ == "__main__":
    sys.exit(main())
