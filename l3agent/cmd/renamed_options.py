# SPDX-License-Identifier: Apache-2.0
"""Options of former releases: an old name is an error with the new name in its text."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from oslo_config import cfg

from l3agent.cmd.neutron_options import configuration_files
from l3agent.conf import RENAMED_OPTS
from l3agent.exceptions import ConfigError


def reject_renamed(conf: Any) -> None:
    """Reject options that were renamed, as the library would silently ignore them.

    :param conf: the parsed options.
    :raises ConfigError: a file or the environment sets such options; one line lists each with its new name.
    """
    if found := sorted(set(_find_renamed(conf))):
        raise ConfigError("; ".join(found))


def _find_renamed(conf: Any) -> Iterator[str]:
    for path in configuration_files(conf):
        sections: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(str(path), sections).parse()
        names = {(section.lower(), name) for section, members in sections.items() for name in members}
        for (group, name), new in RENAMED_OPTS.items():
            if (group.lower(), name) in names:
                yield f"{path}: [{group}] {name}: renamed, use {_option(group, new)}"
    for (group, name), new in RENAMED_OPTS.items():
        # The form in which oslo.config reads options from the environment.
        if (variable := f"OS_{group}__{name}".upper()) in os.environ:
            yield f"environment: {variable}: renamed, use {f'OS_{new[0]}__{new[1]}'.upper()}"


def _option(group: str, new: tuple[str, str]) -> str:
    """Return a new name, with its group if it differs from the former group."""
    return new[1] if new[0] == group else f"[{new[0]}] {new[1]}"
