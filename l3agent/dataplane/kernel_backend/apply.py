# SPDX-License-Identifier: Apache-2.0
"""Applies a plan: the sends, in the order that keeps tenants apart at every moment.

New links are born down, then the rules come in one atomic batch, then the links come up: a router forwards nothing
before its rules are in. Links that go are set down before the rules. What goes, goes last, whatever else is refused.
After a kill between two sends, the next observation finds the rest; the one edge that it cannot see, flows of what was
removed, is journalled in the batch of the rules before. Flows towards a floating IP that comes are dropped before
its address comes: while that is missing, they are dropped again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import IPv6Network
from typing import Any

from l3agent.dataplane.backend import Observed, Target, Work
from l3agent.dataplane.kernel import syscalls
from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.kernel_backend import flushes
from l3agent.dataplane.kernel_backend.sending import KernelStateChanged, Sender, send_or_raise
from l3agent.dataplane.netlink import routes, rtnl
from l3agent.dataplane.plan import encode
from l3agent.dataplane.plan.kinds.accept_ra import AcceptRA
from l3agent.dataplane.plan.kinds.base import Entry, Operation
from l3agent.dataplane.plan.kinds.link import Link
from l3agent.dataplane.plan.kinds.namespace import Namespace
from l3agent.dataplane.plan.kinds.physical_port import PhysicalPort
from l3agent.dataplane.plan.kinds.sysctl import Sysctl
from l3agent.dataplane.plan.order import RARE_KINDS, needed_dumps
from l3agent.dataplane.plan.plan import Plan
from l3agent.dataplane.work.slices import Run
from l3agent.exceptions import ApplyError
from l3agent.model.states import NextHop

#: ENOENT, ESRCH, ENODEV, EADDRNOTAVAIL: the entry to remove does not exist.
_ALREADY_GONE = frozenset((2, 3, 19, 99))
#: EEXIST: the entry to add exists.
_ALREADY_THERE = frozenset((17,))
#: The kinds for which devices are set.
_DEVICE_KINDS: frozenset[type[Entry]] = frozenset((Link, *RARE_KINDS, *encode.SETTINGS))
_REMOVED_MEANWHILE = "another program removed it just after it was created"


@dataclass(slots=True)
class _Progress:
    """The application of one plan, as far as it has come.

    :param plan: what remains to be applied.
    :param first: index of the first device that was just created, None if it must be queried.
    :param is_over: True if no further stage may follow: the kernel refused the rules, or the namespace is gone.
    """

    kernel: Kernel
    run: Run
    sender: Sender
    plan: Plan
    handle: NamespaceHandle | None
    devices: Mapping[str, int]
    bridges: Mapping[str, int]
    first: int | None = None
    is_over: bool = False


def apply_plan(kernel: Kernel, target: Target, plan: Plan, seen: Observed) -> Work[Observed]:
    """Apply a plan to the kernel; return the observation with the created namespace, devices and bridges.

    ``target.run`` may send on the sockets of the namespace in another thread; the order stays the same.

    A refusal stops only operations that depend on the refused one: removals proceed, and devices that could not be
    created outside are left alone inside, where they stay down.

    :raises ApplyError: the first refusal; the caller observes again.
    :raises KernelStateChanged: another program changed the kernel state since the observation.
    """
    sender = Sender(kernel, target.namespace)
    progress = _Progress(kernel, target.run, sender, plan, seen.handle, seen.devices, seen.bridges)
    for stage in _STAGES:
        yield from stage(progress)
        if progress.is_over:
            break
    sender.raise_first_error()
    return replace(seen, handle=progress.handle, devices=progress.devices, bridges=progress.bridges)


# ---- the namespace and its devices outside ---------------------------------------------------------------------


def _make_namespace(progress: _Progress) -> Work[None]:
    """Create the namespace and write its settings."""
    kernel = progress.kernel
    for operation in progress.plan.of(Namespace):
        if operation.verb == "add":
            handle = progress.handle = kernel.create(operation.entry.name)
            ready = handle.cache.pop_preset()
            remaining = partial(_remaining, progress.plan, ready, handle.cache.has_ipv6)
            progress.plan = yield from progress.run(len(progress.plan.operations), remaining)
    settings = [one.entry for one in progress.plan.of(Sysctl) if one.verb != "remove"]
    if progress.handle is not None and settings:
        kernel.sysctls.write(progress.handle, settings)


def _remaining(plan: Plan, ready: frozenset[Entry], has_ipv6: bool) -> Plan:
    """Return the plan without entries that a pooled namespace has, and without IPv6 where it has none."""
    plan = plan.without_additions(ready)
    return plan if has_ipv6 else plan.without_ipv6()


def _make_links(progress: _Progress) -> Work[None]:
    """Create bridges and veth pairs.

    No other work may run until the bridges have their ports: bridges without ports are garbage.
    """
    kernel, handle, sender, plan = progress.kernel, progress.handle, progress.sender, progress.plan
    progress.is_over = handle is None
    if handle is not None:
        # Whatever happens from here on, the next plan has to query the indexes.
        progress.first = handle.cache.pop_next_index()
    if not plan.has_kind(encode.BEFORE_RULES):
        return
    yield from ()
    _make_bridges(progress)
    outside = encode.host_messages(plan, namespace_fd=handle.fd if handle else None, bridge_index=progress.bridges)
    early = encode.early_messages(plan, progress.devices)
    if handle is not None:
        send_or_raise(kernel, handle.route, early.early_removals, sender.namespace, ignore=_ALREADY_GONE)
    # Left-overs of an unpinned namespace, which the kernel may be dismantling at this moment.
    sender.send(kernel.host, outside.early_removals, ignore=_ALREADY_GONE)
    refused = sender.send(kernel.host, outside.creations)
    refused += sender.isolate([one for one in outside.isolation if one[1] not in refused])
    refused += sender.send(kernel.host, [one for one in outside.additions if one[1] not in refused])
    if refused:
        progress.plan, progress.first = _without_links(plan, refused), None
    if handle is not None:
        send_or_raise(kernel, handle.route, early.shutdowns, sender.namespace, ignore=_ALREADY_GONE)


def _make_bridges(progress: _Progress) -> None:
    kernel, plan = progress.kernel, progress.plan
    made = encode.bridge_messages(plan)
    send_or_raise(kernel, kernel.host, made.creations, None)
    send_or_raise(kernel, kernel.host, made.isolation, None)
    for operation in dict.fromkeys(operation for _, operation in made.isolation):
        kernel.sysctls.disable_ipv6(operation.entry.node_device())
    send_or_raise(kernel, kernel.host, made.additions, None)
    wanted = [one.entry.bridge for one in plan.of(Link) if one.verb != "remove"]
    wanted += [one.entry.bridge for one in plan.of(PhysicalPort) if one.verb != "remove"]
    missing = {name for name in wanted if name and name not in progress.bridges}
    if not missing:
        return
    answers = kernel.host.query([rtnl.get_link(name=name) for name in missing])
    found = {info.name: info.index for answer in answers for info in rtnl.parse_links(answer)}
    progress.bridges = {**progress.bridges, **found}
    if gone := missing.difference(found):
        raise KernelStateChanged(f"{', '.join(sorted(gone))}: {_REMOVED_MEANWHILE}")


def _without_links(plan: Plan, refused: Iterable[Operation[Any]]) -> Plan:
    """Return the rest of a plan after some links were refused; what they should replace is already removed."""
    refused = set(refused)
    missing = {one.entry.device for one in plan.of(Link) if one in refused}
    gone = plan.replacements()
    return Plan(tuple(one for one in plan.without_devices(missing).operations if one not in gone))


# ---- inside the namespace --------------------------------------------------------------------------------------


def _replace_rules(progress: _Progress) -> Work[None]:
    """Send the rules in one atomic batch; nothing inside may change before that."""
    send = partial(_send_rules, progress.sender, _handle(progress), progress.plan)
    accepted = yield from progress.run(len(progress.plan.operations), send)
    progress.is_over = not accepted


def _send_rules(sender: Sender, handle: NamespaceHandle, plan: Plan) -> bool:
    return sender.send_rules(handle, encode.rule_messages(plan))


def _remove_namespace(progress: _Progress) -> Work[None]:
    """Stop forwarding, then unpin the namespace; the kernel removes its links, rules and flows.

    The kernel removes the rules first, while the links are still up: without the first step it would route packets of
    tenants untranslated for a moment. Deleting links one by one would wait for several RCU grace periods each.
    """
    yield from ()
    if any(operation.verb == "remove" for operation in progress.plan.of(Namespace)):
        handle = _handle(progress)
        settings = [Sysctl("net/ipv4/ip_forward", "0"), Sysctl("net/ipv6/conf/all/forwarding", "0")]
        progress.kernel.sysctls.write(handle, settings)
        progress.kernel.remove(handle.name)
        progress.is_over = True


def _set_devices(progress: _Progress) -> Work[None]:
    """Record the indexes of new devices; write the settings of devices before these come up and solicit routers."""
    if not progress.plan.has_kind(_DEVICE_KINDS):
        return
    yield from ()
    kernel, handle, sender = progress.kernel, _handle(progress), progress.sender
    if missing := _record_new_devices(progress, handle):
        sender.record_error(KernelStateChanged(f"{', '.join(sorted(missing))}: {_REMOVED_MEANWHILE}"))
        progress.plan = progress.plan.without_devices(missing)
    plan = progress.plan
    handle.cache.add_rare_dumps(needed_dumps([one.entry for kind in RARE_KINDS for one in plan.of(kind)]))
    with sender.collect_error():
        if settings := encode.device_settings(plan):
            kernel.sysctls.write(handle, settings)
        links = [one.entry for one in plan.of(Link) if one.verb != "remove"]
        if devices := [link.device for link in links if link.up and not link.offload]:
            kernel.call_inside(handle, lambda: syscalls.disable_tx_checksums(devices))


def _record_new_devices(progress: _Progress, handle: NamespaceHandle) -> set[str]:
    """Record the indexes of the devices that were just created; return the devices that are missing.

    In a pooled namespace the indexes follow those of its first devices (fallback tunnels, if any), in the order of
    creation: no other program has the namespace yet. In others they are queried, since the kernel does not assign an
    index again that was in use once.
    """
    links = [one.entry for one in progress.plan.of(Link) if one.verb == "add"]
    if not links:
        return set()
    new = [link.device for link in links]
    if progress.first is not None and not any(link.is_ovs_internal for link in links):
        found = {device: index for index, device in enumerate(new, start=progress.first)}
    else:
        answers = handle.route.query([rtnl.get_link(name=device) for device in new])
        found = {info.name: info.index for answer in answers for info in rtnl.parse_links(answer)}
    progress.devices = {**progress.devices, **found}
    return set(new).difference(found)


def _change_inside(progress: _Progress) -> Work[None]:
    """Send additions, then removals, with the deletions of flows that belong to them."""
    handle, plan, devices = _handle(progress), progress.plan, progress.devices
    advertised = _find_ra_next_hops(handle, plan, devices)
    send = partial(_send_inside, progress.sender, handle, plan, devices, advertised)
    yield from progress.run(len(plan.operations), send)


def _send_inside(
    sender: Sender, handle: NamespaceHandle, plan: Plan, devices: Mapping[str, int], advertised: frozenset[NextHop]
) -> None:
    early, late = flushes.split_edges(plan)
    try:
        flushes.apply_flushes(sender.kernel, handle, early, devices)
    except ApplyError as exc:
        sender.record_error(exc)
        plan = flushes.without_addresses(plan, early)
    inside = encode.namespace_messages(plan, devices, advertised)
    sender.send(handle.route, inside.connected_routes, ignore=_ALREADY_THERE)
    sender.send(handle.route, inside.additions)
    sender.send(handle.route, inside.removals, ignore=_ALREADY_GONE)
    with sender.collect_error():
        flushes.apply_flushes(sender.kernel, handle, late, devices)


def _find_ra_next_hops(handle: NamespaceHandle, plan: Plan, devices: Mapping[str, int]) -> frozenset[NextHop]:
    """Return the next hops learned from router advertisements if a device no longer accepts them."""
    if not any(one.verb == "remove" for one in plan.of(AcceptRA)):
        return frozenset()
    names = {index: name for name, index in devices.items()}
    found = routes.parse_routes(handle.route.dump(routes.dump_routes(6)), names, routes.PROTOCOL_RA)
    return found.get(IPv6Network("::/0"), frozenset())


def _handle(progress: _Progress) -> NamespaceHandle:
    """Return the handle of the namespace, which exists in the stages that follow its links."""
    assert progress.handle is not None
    return progress.handle


#: The stages in their order; each but the first two needs the namespace.
_STAGES: tuple[Callable[[_Progress], Work[None]], ...] = (
    _make_namespace,
    _make_links,
    _replace_rules,
    _remove_namespace,
    _set_devices,
    _change_inside,
)
