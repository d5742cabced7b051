# SPDX-License-Identifier: Apache-2.0
"""Sends batches of operations; a refusal of the kernel names its operation, with advice."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from l3agent.dataplane.kernel.limits import BRIDGE_PORTS
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel.sockets import KernelRefused, NetlinkSocket
from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.kinds.base import Batch, Operation
from l3agent.exceptions import ApplyError

#: EXFULL, ERANGE, EOPNOTSUPP: advice in addition to the kernel's message.
_HINTS = {
    54: f"a Linux bridge takes {BRIDGE_PORTS} ports; spread the routers over more nodes or external networks",
    34: "the name of a device has at most 15 bytes",
    95: "a device of Open vSwitch goes with its port (ovs-vsctl del-port); is ovs-vswitchd running?",
}
#: ENOENT, ESRCH, EEXIST, ENODEV, and EINVAL, which a link gets whose bridge is gone (do_set_master of the kernel).
_STATE_CHANGED_ERRNOS = frozenset((2, 3, 17, 19, 22))


class KernelStateChanged(ApplyError):
    """The kernel state differs from the observation: an entry is missing or in the way. A new observation may help."""


class _ErrorCollector:
    """Records a refusal that ends a block; a class, as each plan enters several and generators take twice the time."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: type[BaseException] | None, exc: BaseException | None, __: TracebackType | None) -> bool:
        if not isinstance(exc, ApplyError):
            return False
        self._sender.record_error(exc)
        return True


class Sender:
    """Sends the operations of one plan; continues after a refusal and records the first one."""

    def __init__(self, kernel: Kernel, namespace: str | None) -> None:
        self.kernel = kernel
        self.namespace = namespace
        self._first: ApplyError | None = None

    def send(
        self, socket: NetlinkSocket, batch: Batch, *, ignore: frozenset[int] = frozenset()
    ) -> list[Operation[Any]]:
        """Send messages that the kernel processes one by one; return the operations with a refused message."""
        try:
            _send(self.kernel, socket, batch, ignore=ignore)
        except KernelRefused as exc:
            self.record_error(with_operation(exc, batch, self.namespace))
            return [batch[number - 1][1] for number in exc.numbers]
        return []

    def isolate(self, batch: Batch) -> list[Operation[Any]]:
        """Make the host stack ignore created or corrected devices; return the operations that were refused."""
        refused = self.send(self.kernel.host, batch)
        for operation in dict.fromkeys(operation for _, operation in batch):
            if operation not in refused:
                try:
                    self.kernel.sysctls.disable_ipv6(operation.entry.node_device())
                except ApplyError as exc:
                    self.record_error(exc)
                    refused.append(operation)
        return refused

    def send_rules(self, handle: NamespaceHandle, batch: Batch) -> bool:
        """Send rules; return True if the kernel accepted them. Nothing inside may change before that."""
        try:
            if batch:
                with self.kernel.counters.batch("nft"):
                    handle.netfilter.nft_batch([message for message, _ in batch])
        except KernelRefused as exc:
            self.record_error(with_operation(exc, batch, self.namespace))
            return False
        return True

    def collect_error(self) -> _ErrorCollector:
        """Record a refusal that ends a block."""
        return _ErrorCollector(self)

    def record_error(self, refusal: ApplyError) -> None:
        """Record a refusal, if it is the first."""
        self._first = self._first or refusal

    def raise_first_error(self) -> None:
        """Raise the first refusal, if there was one."""
        if self._first is not None:
            raise self._first


def _send(kernel: Kernel, socket: NetlinkSocket, batch: Batch, *, ignore: frozenset[int] = frozenset()) -> None:
    if batch:
        with kernel.counters.batch("ip"):
            socket.batch(b"".join(message for message, _ in batch), ignore=ignore)


def send_or_raise(
    kernel: Kernel,
    socket: NetlinkSocket,
    batch: Batch,
    namespace: str | None,
    *,
    ignore: frozenset[int] = frozenset(),
) -> None:
    """Send messages and raise the first refusal.

    :param namespace: where the refused operation is, None for the host namespace.
    :param ignore: error numbers that are no refusal.
    :raises ApplyError: the first refusal.
    """
    try:
        _send(kernel, socket, batch, ignore=ignore)
    except KernelRefused as exc:
        raise with_operation(exc, batch, namespace) from exc


def with_operation(exc: KernelRefused, batch: Batch, namespace: str | None) -> ApplyError:
    """Return a refusal with its operation as a shell command, and with advice."""
    if not 1 <= exc.number <= len(batch):
        return exc
    operation = batch[exc.number - 1][1]
    hint = _HINTS.get(exc.code, "")
    kind = KernelStateChanged if exc.code in _STATE_CHANGED_ERRNOS else ApplyError
    return kind(f"{'; '.join(commands(operation, namespace))}: {exc}{hint and ': ' + hint}")
