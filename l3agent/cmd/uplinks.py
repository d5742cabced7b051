# SPDX-License-Identifier: Apache-2.0
"""The NICs that l3-dataplane may plug into bridges: the uplinks in a topology file that only root can change."""

from __future__ import annotations

import logging
import os

from l3agent.cmd.trust import is_trusted
from l3agent.exceptions import ConfigError
from l3agent.standalone import topology

LOG = logging.getLogger(__name__)


class Uplinks:
    """Names of NICs from a topology file, read at start, on SIGHUP, and for an unknown NIC if the file has changed.

    :param path: the topology file; None without one.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path
        self._version: tuple[int, int] | None = None
        self._names: frozenset[str] = frozenset()
        self.reload()

    def rejection(self, name: str) -> str | None:
        """Return why the use of a NIC is rejected; None if it is permitted."""
        if name in self._names:
            return None
        if self._path is None:
            return "l3-dataplane was started without [standalone] topology"
        if (version := self._stat()) is None:
            return f"the topology file {self._path} does not exist"
        if not is_trusted(self._path):
            return f"another user than root can change the topology file {self._path}"
        if version != self._version:
            self.reload()
        return None if name in self._names else f"the topology file {self._path} names no such NIC"

    def reload(self) -> None:
        """Read the file again; keep the current names if that fails."""
        if self._path is None or not is_trusted(self._path):
            return
        self._version = self._stat()
        try:
            networks = topology.load(self._path).networks
        except ConfigError as exc:
            LOG.error("The list of NICs is not reloaded: %s", "; ".join(str(exc).splitlines()))
            return
        self._names = frozenset(one.interface for one in networks if one.interface is not None)

    def _stat(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self._path or "")
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino
