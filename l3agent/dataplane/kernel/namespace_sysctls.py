# SPDX-License-Identifier: Apache-2.0
"""Settings (sysctls) of network namespaces: read, compared and written by entering the namespace.

Used by the kernel thread only, like :mod:`l3agent.dataplane.kernel.namespaces`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from l3agent.dataplane.kernel import limits
from l3agent.dataplane.kernel.counters import Counters
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.netns import enter
from l3agent.dataplane.kernel.sysctl import SysctlFiles
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.exceptions import ApplyError

LOG = logging.getLogger(__name__)


class NamespaceSysctls:
    """Reads and writes the settings of namespaces.

    :param home: descriptor of the host namespace.
    """

    def __init__(self, home: int, files: SysctlFiles, counters: Counters) -> None:
        self._home = home
        self._files = files
        self._counters = counters
        self._unknown: set[str] = set()

    def read(self, handle: NamespaceHandle, wanted: Collection[Sysctl]) -> set[Entry]:
        """Return current settings of a namespace; an unknown one counts as desired."""
        if not wanted:
            return set()
        self._files.renew()
        with enter(self._home, handle.fd):
            return {self._read_one(one) for one in wanted}

    def are_set(self, handle: NamespaceHandle, wanted: Sequence[Sysctl]) -> bool:
        """Return True if settings of a namespace have the desired values or are unknown to this kernel.

        Their files stay open where descriptors are plenty: entering the namespace and opening them takes ten times as
        long as reading them.
        """
        files = handle.settings
        if missing := files.missing(wanted):
            self._open(handle, missing)
        try:
            return files.are_set(wanted)
        except OSError:
            files.close()
            raise
        finally:
            if missing and not all(map(limits.are_plenty, files.descriptors)):
                files.close()

    def write(self, handle: NamespaceHandle, wanted: list[Sysctl]) -> None:
        """Write settings of a namespace or of its devices.

        A setting that the kernel does not have (conntrack not loaded, no IPv6) is logged once and counts as written.
        """
        with self._counters.batch("sysctl"), enter(self._home, handle.fd):
            for sysctl in wanted:
                try:
                    self._files.write(sysctl)
                except FileNotFoundError:
                    self._log_unknown(sysctl.path)
                except OSError as exc:
                    raise ApplyError(f"sysctl {sysctl.path}={sysctl.value}: {exc.strerror}") from exc

    def disable_ipv6(self, device: str) -> None:
        """Disable IPv6 on a device of the node's own namespace; it loses addresses and routes.

        :raises ApplyError: the kernel refuses it.
        """
        path = f"net/ipv6/conf/{device}/disable_ipv6"
        try:
            self._files.write(Sysctl(path, "1"))
        except FileNotFoundError:
            # No IPv6: switched off on the node, its MTU is too small, or the device is gone.
            pass
        except OSError as exc:
            raise ApplyError(f"sysctl {path}=1: {exc.strerror}") from exc

    # ---- private ---------------------------------------------------------------------------------------------

    def _open(self, handle: NamespaceHandle, paths: Iterable[str]) -> None:
        self._files.renew()
        with enter(self._home, handle.fd):
            for path in paths:
                with suppress(FileNotFoundError):
                    handle.settings.add(path, self._files.open(path, os.O_RDONLY))

    def _read_one(self, sysctl: Sysctl) -> Sysctl:
        """Return the current value of a setting; one unknown to this kernel counts as desired."""
        try:
            return self._files.read(sysctl)
        except FileNotFoundError:
            return sysctl

    def _log_unknown(self, path: str) -> None:
        if path not in self._unknown:
            self._unknown.add(path)
            LOG.warning("this kernel has no %s; it is left out", path)
