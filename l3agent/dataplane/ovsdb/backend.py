# SPDX-License-Identifier: Apache-2.0
"""The backend of the ports of Open vSwitch: its database, behind the thread that owns the connection."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from l3agent.dataplane.backend import Observed, Target, Work
from l3agent.dataplane.ovsdb.ports import Changes, Ports, observed_ports, to_entry
from l3agent.dataplane.plan.kinds.base import Entry, Operation, select
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.observation import AllChanged, Notice
from l3agent.dataplane.plan.kinds.switch_port import PortEvent, SwitchPort
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.work.wait import Wait
from l3agent.exceptions import ApplyError


class Database(Ports, Protocol):
    """Read and write access to the ports, see :class:`l3agent.dataplane.ovsdb.thread.OvsdbThread`."""

    @property
    def descriptor(self) -> int:
        """Descriptor that becomes readable when ports changed, or a transaction is done."""

    def submit(self, operations: Sequence[Operation[SwitchPort]]) -> Wait:
        """Submit operations on ports to the database."""

    def read_changes(self) -> Changes:
        """Return the changes since the last call."""

    def owners(self) -> list[str]:
        """Return the ids of all routers with marked ports."""

    def stats(self) -> dict[str, object]:
        """Return the state of the connection and the number of ports."""


class OvsdbBackend:
    """The ports of Open vSwitch; used by the kernel thread.

    The copy of the rows answers every observation, also while the database cannot be reached.

    :param bridges: names of the bridges that have our ports; a port may change with its bridge.
    """

    name = "switch"
    owns: frozenset[type[Entry]] = frozenset({SwitchPort})

    def __init__(self, database: Database, bridges: Collection[str]) -> None:
        self._database = database
        self._bridges = frozenset(bridges)
        self.descriptors = [database.descriptor]

    def precedes_kernel(self, plan: Plan) -> bool:
        """Return True if the plan adds or changes a port: ovs-vswitchd creates the device that the kernel's part moves.

        Removals follow the kernel's part: a device that goes with its port is shut down first.
        """
        return plan.adds(SwitchPort)

    def observe(self, target: Target, seen: Observed) -> Work[Observed]:
        """Return an observation with the ports added.

        :raises ApplyError: a port with a wanted name exists and lacks our mark.
        """
        yield from ()
        links, devices = select(seen.entries, Link), {*seen.devices, *seen.to_move_in}
        return seen.with_entries(observed_ports(self._database, target.key[1], target.desired, links, devices))

    def apply(self, _: Target, plan: Plan, seen: Observed) -> Work[Observed]:
        """Apply the operations on ports as a part of one transaction; wait until ovs-vswitchd has applied it.

        :raises ApplyError: it failed, or did not end in time.
        """
        change = self._database.submit(plan.of(SwitchPort))
        yield change
        if change.error is not None:
            raise ApplyError(change.error)
        return seen

    def events(self) -> Iterator[Notice]:
        """Yield the changes since the last call."""
        changes = self._database.read_changes()
        # Other bridges come and go with the trunk ports of virtual machines.
        if changes.all or not self._bridges.isdisjoint(changes.bridges):
            yield None, AllChanged()
            return
        for name in changes.names:
            found = self._database.port(name)
            yield None, PortEvent(name, None if found is None else to_entry(found, has_device=True))

    def owners(self) -> list[str]:
        """Return the ids of all routers with marked ports, which stay while the database cannot be reached."""
        return self._database.owners()

    def stats(self) -> dict[str, object]:
        """Return the state of the connection and the number of ports."""
        return {self.name: self._database.stats()}
