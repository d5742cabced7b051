# SPDX-License-Identifier: Apache-2.0
"""The backend of the kernel: namespaces and what is in them, and the devices of the node's namespace."""

from __future__ import annotations

from collections.abc import Iterable

from l3agent.dataplane.backend import Observed, Target, Work
from l3agent.dataplane.kernel.listener import Listener
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend.apply import apply_plan
from l3agent.dataplane.kernel_backend.observe import observe
from l3agent.dataplane.plan.drivers import InterfaceDriver
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.observation import Notice
from l3agent.dataplane.plan.kinds.switch_port import SwitchPort
from l3agent.dataplane.plan.order import KINDS
from l3agent.dataplane.plan.plan import Plan


class KernelBackend:
    """The kernel; used by the kernel thread.

    :param listener: receives events; None where drift is not repaired.
    """

    name = "apply"
    owns: frozenset[type[Entry]] = frozenset(KINDS) - {SwitchPort}

    def __init__(self, kernel: Kernel, driver: InterfaceDriver, listener: Listener | None) -> None:
        self._kernel = kernel
        self._driver = driver
        self._listener = listener
        self.descriptors = [] if listener is None else listener.descriptors

    def precedes_kernel(self, _: Plan) -> bool:
        """Return False: it is the kernel's part."""
        return False

    def observe(self, target: Target, _: Observed) -> Work[Observed]:
        """Return the state of the kernel.

        :raises ApplyError: the target cannot be served.
        """
        kind, state_id = target.key
        network = self._driver.bridge(state_id) if kind == "network" else None
        return observe(self._kernel, target, network)

    def apply(self, target: Target, plan: Plan, seen: Observed) -> Work[Observed]:
        """Apply a plan; raise the errors of :func:`l3agent.dataplane.kernel_backend.apply.apply_plan`."""
        return apply_plan(self._kernel, target, plan, seen)

    def events(self) -> Iterable[Notice]:
        """Return the changes of other programs since the last call."""
        return () if self._listener is None else self._listener.read()

    def owners(self) -> Iterable[str]:
        """Return nothing: what the kernel holds for a router is in its namespace, or is garbage of one."""
        return ()

    def stats(self) -> dict[str, object]:
        """Return its counters since the start of the process."""
        return self._kernel.counters.values()
