# SPDX-License-Identifier: Apache-2.0
"""What each program does first: read its options, all of them, and begin to log."""

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
    """Return the options of a program, parsed from its arguments and configuration files, every one of them read.

    oslo.config converts a value when it is first read; reading all of them here finds the wrong one before anything
    is started.

    :param prog: name of the program, for its help.
    :param cli_opts: options that only this program has.
    :param default_files: read if the arguments name none; None for :func:`default_config_files`.
    :raises ConfigError: a missing file, a file that is no configuration, a bad value, an option that was renamed.
    """
    conf = cfg.ConfigOpts()
    register_opts(conf)
    logging.register_options(conf)
    conf.register_cli_opts(cli_opts)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            conf(
                list(argv),
                project="l3agent",
                prog=prog,
                version=__version__,
                default_config_files=default_config_files() if default_files is None else list(default_files),
                default_config_dirs=[],
            )
    except cfg.ConfigFileParseError as exc:
        # The line itself stays out of the error: a file of root may be named on the command line of l3-dataplane.
        raise ConfigError(f"{exc.config_file}: {_location_only(exc)}") from exc
    except cfg.Error as exc:
        raise ConfigError(" ".join(str(exc).split())) from exc
    except SystemExit as exc:
        if not exc.code:  # --help, --version
            raise
        # argparse has printed its usage, over many lines, and last what is wrong.
        raise UsageError(captured.getvalue().strip().rpartition("error: ")[2]) from exc
    reject_renamed(conf)
    for group, opts in list_opts():
        for opt in opts:
            _read_value(conf, group, opt.dest)
    if conf.standalone.topology:
        # No L2 agent wires ports here.
        conf.set_default("interface_driver", "bridge")
        # No instance expects metadata.
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


def _location_only(exc: cfg.ConfigFileParseError) -> str:
    line = re.match(r"at .*:(\d+), ", exc.msg)
    return f"line {line[1]}: neither a [group], an option = value, nor a comment" if line else "cannot be parsed"


def start_logging(conf: Any, product: str, **settings: Any) -> None:
    """Begin to log as the options say.

    :param settings: for ``oslo_log.log.setup``.
    :raises ConfigError: a file cannot be written, a logging configuration is wrong, a part of it is not installed.
    """
    try:
        logging.setup(conf, product, version=__version__, **settings)
    except logging.LogConfigError as exc:
        raise ConfigError(" ".join(str(exc).split())) from exc
    except OSError as exc:
        raise ConfigError(f"log_file, log_dir: {exc.filename or ''}: {exc.strerror or exc}") from exc
    except RuntimeError as exc:
        # What oslo.log says of a module that is missing: the bindings of systemd, or syslog.
        raise ConfigError(f"use_journal, use_syslog: {exc}; for the journal install python3-systemd") from exc
    _escape_controls_in_logs()


def _escape_controls_in_logs() -> None:
    """Have every handler escape control characters: ids, names and messages of others forge no lines."""
    for handler in stdlib_logging.getLogger().handlers:
        handler.addFilter(_escape_message)
        formatter = handler.formatter
        if formatter is not None:
            formatter.formatException = _escape_result(formatter.formatException)  # type: ignore[method-assign]


def _escape_message(record: stdlib_logging.LogRecord) -> bool:
    try:
        message = record.getMessage()
    except Exception:
        # Arguments that do not fit their format: the handler reports them as it always does.
        return True
    # A format of several lines is this program's own: it reports a stack.
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
