# SPDX-License-Identifier: Apache-2.0
"""Reloads the configuration and reopens log files, as SIGHUP requires before services are reset."""

from __future__ import annotations

import logging as stdlib_logging

from oslo_config import cfg
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


def reload_config(conf: cfg.ConfigOpts, restart_method: str) -> bool:
    """Reload the configuration files; log the changed options, and separately changes that need a restart.

    :param restart_method: ``mutate``: apply changes of mutable options only; ``reload``: apply all changes.
    :returns: False if the files could not be read; then the old values stay in effect.
    """
    try:
        if restart_method == "reload":
            return bool(conf.reload_config_files())
        changed = conf.mutate_config_files()
    except (Exception, SystemExit):  # of a file, of oslo.config's parser, of a mutate hook
        LOG.exception("Cannot reload the configuration, the old one stays in effect")
        return False
    LOG.info("Options changed: %s", ", ".join(sorted(_name(group, name) for group, name in changed)) or "none")
    if waiting := options_needing_restart(conf):
        LOG.warning("Options changed that need a restart: %s", ", ".join(waiting))
    return True


def options_needing_restart(conf: cfg.ConfigOpts) -> list[str]:
    """Return the immutable options whose value in the files differs from the value in effect."""
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
    """Close the log files, so that the next record opens each by its name: log rotation renames them."""
    for handler in stdlib_logging.getLogger().handlers:
        if isinstance(handler, stdlib_logging.FileHandler):
            handler.close()
