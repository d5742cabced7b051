# SPDX-License-Identifier: Apache-2.0
"""Start-up common to all programs: read and check every option, and start logging."""

from __future__ import annotations

import contextlib
import io
import logging as stdlib_logging
import re
import socket
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging

from l3agent import __version__
from l3agent.cmd.config_files import default_config_files
from l3agent.cmd.renamed_options import reject_renamed
from l3agent.conf import list_opts, register_opts
from l3agent.exceptions import ConfigError, UsageError
from l3agent.model.escape import escape_controls, escape_lines
from l3agent.model.validators import is_unicast


def load_config(
    argv: Sequence[str], *, prog: str, cli_opts: Sequence[Any] = (), default_files: Sequence[str] | None = None
) -> Any:
    """Return the options of a program, parsed from its arguments and configuration files.

    oslo.config converts a value at its first read. Every option is read here, so that an invalid value is an error
    before any service starts.

    :param prog: name of the program, for its help.
    :param cli_opts: options of this program alone.
    :param default_files: files to read if the arguments name none; None for :func:`default_config_files`.
    :raises ConfigError: a file is missing or not a configuration, a value is invalid, or an option was renamed.
    """
    conf = cfg.ConfigOpts()
    register_opts(conf)
    logging.register_options(conf)
    conf.register_cli_opts(cli_opts)
    _parse(conf, argv, prog=prog, default_files=default_config_files() if default_files is None else default_files)
    reject_renamed(conf)
    for group, opts in list_opts():
        for opt in opts:
            _read_value(conf, group, opt.dest)
    if conf.standalone.topology:
        # No L2 agent wires ports in a standalone topology.
        conf.set_default("interface_driver", "bridge")
        # No instance requests metadata.
        conf.set_default("enable_metadata_proxy", False)
    if conf.agent_mode != "legacy":
        raise ConfigError(f"[DEFAULT] agent_mode: {conf.agent_mode}: distributed routers are not built, use `legacy`")
    _check_ipv6_gateway(conf.ipv6_gateway)
    if not conf.OVS.ovsdb_connection.startswith(("tcp:", "ssl:", "unix:")):
        raise ConfigError(
            f"[OVS] ovsdb_connection: {conf.OVS.ovsdb_connection}: expected tcp:IP:PORT, ssl:IP:PORT or unix:FILE"
        )
    if conf.host is None:
        conf.set_default("host", socket.gethostname())
    return conf


def _parse(conf: Any, argv: Sequence[str], *, prog: str, default_files: Sequence[str]) -> None:
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            conf(
                list(argv),
                project="l3agent",
                prog=prog,
                version=__version__,
                default_config_files=list(default_files),
                default_config_dirs=[],
            )
    except cfg.ConfigFileParseError as exc:
        # The error omits the line's content: the command line of l3-dataplane may name a file that only root can read.
        raise ConfigError(f"{exc.config_file}: {_location_only(exc)}") from exc
    except cfg.Error as exc:
        raise ConfigError(" ".join(str(exc).split())) from exc
    except SystemExit as exc:
        if not exc.code:  # --help, --version
            raise
        # argparse has printed its usage and, as the last line, the error.
        raise UsageError(captured.getvalue().strip().rpartition("error: ")[2]) from exc


def _location_only(exc: cfg.ConfigFileParseError) -> str:
    line = re.match(r"at .*:(\d+), ", exc.msg)
    return f"line {line[1]}: neither a [group], an option = value, nor a comment" if line else "cannot be parsed"


def start_logging(conf: Any, product: str, **settings: Any) -> None:
    """Set up logging according to the options.

    :param settings: further arguments of ``oslo_log.log.setup``.
    :raises ConfigError: a file cannot be written, a logging configuration is invalid, or a Python module is missing.
    """
    try:
        logging.setup(conf, product, version=__version__, **settings)
    except logging.LogConfigError as exc:
        raise ConfigError(" ".join(str(exc).split())) from exc
    except OSError as exc:
        raise ConfigError(f"log_file, log_dir: {exc.filename or ''}: {exc.strerror or exc}") from exc
    except RuntimeError as exc:
        # oslo.log reports a missing module: the bindings of systemd, or syslog.
        raise ConfigError(f"use_journal, use_syslog: {exc}; for the journal install python3-systemd") from exc
    _escape_controls_in_logs()


def _escape_controls_in_logs() -> None:
    """Make every handler escape control characters, so that ids, names and foreign messages cannot forge lines."""
    for handler in stdlib_logging.getLogger().handlers:
        handler.addFilter(_escape_message)
        formatter = handler.formatter
        if formatter is not None:
            formatter.formatException = _escape_result(formatter.formatException)  # type: ignore[method-assign]


def _escape_message(record: stdlib_logging.LogRecord) -> bool:
    try:
        message = record.getMessage()
    except Exception:
        # The arguments do not match the format; the handler reports the error.
        return True
    # Only this program's own formats have several lines, to report a stack.
    escaped = escape_lines(message) if "\n" in str(record.msg) else escape_controls(message)
    if escaped != message:
        record.msg, record.args = escaped, None
    return True


def _escape_result(format_exception: Callable[..., Any]) -> Callable[..., Any]:
    def escaped(*args: Any, **kwargs: Any) -> Any:
        text = format_exception(*args, **kwargs)
        return escape_lines(text) if isinstance(text, str) else text

    return escaped


def _check_ipv6_gateway(text: str) -> None:
    if not text:
        return
    try:
        address = IPv6Address(text)
    except ValueError as exc:
        raise ConfigError(f"[DEFAULT] ipv6_gateway: {text}: expected an IPv6 address") from exc
    if address.scope_id or not is_unicast(address.packed):
        raise ConfigError(f"[DEFAULT] ipv6_gateway: {text}: expected the address of one machine, without a zone")


def _read_value(conf: Any, group: str | None, name: str) -> None:
    try:
        getattr(conf if group is None else conf[group], name)
    except cfg.ConfigSourceValueError as exc:
        raise ConfigError(f"[{group or 'DEFAULT'}] {name}: {str(exc).rpartition('is not valid: ')[2]}") from exc
