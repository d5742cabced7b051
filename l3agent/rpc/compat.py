# SPDX-License-Identifier: Apache-2.0
"""Detection of servers that lack a method or a version of it."""

from __future__ import annotations

from oslo_messaging import RemoteError

# Source: oslo_messaging.rpc.dispatcher; both arrive as RemoteError.
_UNKNOWN = frozenset({"NoSuchMethod", "UnsupportedVersion"})


def is_unknown_method(error: RemoteError) -> bool:
    """Return True if the peer lacks the method, or has it in older versions only."""
    return error.exc_type in _UNKNOWN
