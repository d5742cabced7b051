# SPDX-License-Identifier: Apache-2.0
"""How a server says that it is older than the question."""

from __future__ import annotations

from oslo_messaging import RemoteError

# Source: oslo_messaging.rpc.dispatcher; both arrive as RemoteError.
_UNKNOWN = frozenset({"NoSuchMethod", "UnsupportedVersion"})


def is_unknown_method(error: RemoteError) -> bool:
    """Tell whether the other end lacks the method, or has it in older versions only."""
    return error.exc_type in _UNKNOWN
