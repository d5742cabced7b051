# SPDX-License-Identifier: Apache-2.0
"""What SIGHUP does before the services are reset: log files opened again, the configuration read again."""

from __future__ import annotations

import logging as stdlib_logging

from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


def reload_config(conf: cfg.ConfigOpts, restart_method: str) -> bool:
    """Read the configuration files again, and say which options changed and which of them wait for a restart.

    :param restart_method: ``mutate``: only mutable options change; ``reload``: all do.
    :returns: whether the files could be read; if not, the old values stand.
    """
    try:
        if restart_method == "reload":
            return bool(conf.reload_config_files())
        changed = conf.mutate_config_files()
    except (Exception, SystemExit):  # of a file, of the parser of oslo.config, of somebody's hook
        LOG.exception("The configuration could not be reloaded, the old one stands")
        return False
    LOG.info("Options changed: %s", ", ".join(sorted(_name(group, name) for group, name in changed)) or "none")
    if waiting := options_needing_restart(conf):
        LOG.warning("Options changed that need a restart: %s", ", ".join(waiting))
    return True


def options_needing_restart(conf: cfg.ConfigOpts) -> list[str]:
    """Return the options whose value in the files is not the one in use, since they cannot change at run time."""
    if conf._mutable_ns is None:
        return []
    return [
        _name(group and group.name, info["opt"].name)
        for info, group in conf._all_opt_infos()
        if not info["opt"].mutable
        and _value(info["opt"], conf._namespace, group) != _value(info["opt"], conf._mutable_ns, group)
    ]


def _value(opt: cfg.Opt, namespace: object, group: cfg.OptGroup | None) -> object:
    try:
        return opt._get_from_namespace(namespace, group.name if group else "DEFAULT")[0]
    except KeyError:
        return None


def _name(group: str | None, name: str) -> str:
    return f"{group or 'DEFAULT'}.{name}"


def reopen_log_files() -> None:
    """Close the log files, for one that rotates them: each is opened again, by its name, at the next record."""
    for handler in stdlib_logging.getLogger().handlers:
        if isinstance(handler, stdlib_logging.FileHandler):
            handler.close()
