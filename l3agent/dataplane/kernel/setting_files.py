# SPDX-License-Identifier: Apache-2.0
"""Files of settings (sysctls) of one namespace that stay open."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable

from l3agent.dataplane.plan.kinds.sysctl import Sysctl

#: More than the text of any setting that is read.
_SETTING_BYTES = 64


class SettingFiles:
    """Open files of settings, by path below /proc/sys."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}

    @property
    def descriptors(self) -> Collection[int]:
        """The descriptors of all open files."""
        return self._files.values()

    def missing(self, wanted: Iterable[Sysctl]) -> list[str]:
        """Return the paths of the settings whose files are not open."""
        return [one.path for one in wanted if one.path not in self._files]

    def add(self, path: str, descriptor: int) -> None:
        """Add an open file; it is closed by :meth:`close`."""
        self._files[path] = descriptor

    def are_set(self, wanted: Iterable[Sysctl]) -> bool:
        """Return True if the settings whose files are open have the desired values.

        :raises OSError: a setting is gone with its module.
        """
        return all(
            os.pread(self._files[one.path], _SETTING_BYTES, 0).rstrip() == one.value.encode()
            for one in wanted
            if one.path in self._files
        )

    def close(self) -> None:
        """Close all files."""
        while self._files:
            os.close(self._files.popitem()[1])
