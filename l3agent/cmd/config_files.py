# SPDX-License-Identifier: Apache-2.0
"""Configuration files read when the command line names none."""

from __future__ import annotations

import os
from typing import Any

#: Candidate sets in order of precedence; the first set with at least one existing file is read. The second is what
#: neutron-l3-agent reads.
DEFAULT_FILES = (
    ("/etc/l3agent/l3_agent.conf",),
    ("/etc/neutron/neutron.conf", "/etc/neutron/l3_agent.ini"),
)


def default_config_files() -> list[str]:
    """Return the configuration files to read without ``--config-file``; empty if none exists."""
    for candidates in DEFAULT_FILES:
        existing = [path for path in candidates if os.path.exists(path)]
        if existing:
            return existing
    return []


def sources(conf: Any) -> list[str]:
    """Return the paths of the configuration files and directories that ``conf`` was read from, in order."""
    return [*map(str, conf.config_file or []), *map(str, conf.config_dir or [])]


def describe_sources(conf: Any) -> str:
    """Return the configuration files and directories of ``conf`` as text for a log line or a terminal."""
    return ", ".join(sources(conf)) or "no file (defaults)"
