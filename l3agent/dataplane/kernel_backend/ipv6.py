# SPDX-License-Identifier: Apache-2.0
"""Leaves out IPv6 where a namespace has none: IPv4 is served, and the log reports once what is missing."""

from __future__ import annotations

import logging

from l3agent.dataplane.kernel.namespace_handle import NamespaceHandle
from l3agent.dataplane.kernel.namespaces import Kernel
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.model.states import Key

LOG = logging.getLogger(__name__)

Entries = frozenset[Entry]


def filter_supported(kernel: Kernel, handle: NamespaceHandle | None, desired: Entries) -> Entries:
    """Return the entries that a namespace accepts: all, or those without IPv6.

    :param handle: None where the namespace does not exist yet.
    """
    has_ipv6 = kernel.has_ipv6 if handle is None else handle.cache.has_ipv6
    return desired if has_ipv6 else frozenset(entry for entry in desired if not entry.needs_ipv6())


def log_missing(handle: NamespaceHandle, key: Key, desired: Entries) -> None:
    """Log once that addresses and routes of a state are left out, and once that they are configured again.

    A router whose only IPv6 addresses are link-local is not logged.
    """
    missing = not handle.cache.has_ipv6 and any(entry.needs_ipv6() and not entry.is_implied() for entry in desired)
    if not handle.cache.record_ipv6_missing(missing):
        return
    if missing:
        LOG.warning(
            "%s %s: its IPv6 addresses and routes are not configured: this node has no IPv6 "
            "(sysctl net.ipv6.conf.*.disable_ipv6, kernel parameter ipv6.disable); its IPv4 is served",
            *key,
        )
    elif handle.cache.has_ipv6:
        LOG.info("%s %s: the node has IPv6 again; its addresses and routes are configured", *key)
