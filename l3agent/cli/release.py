# SPDX-License-Identifier: Apache-2.0
"""Hands the routers of this machine back to neutron-l3-agent, through an operation of the data plane.

The rules of a router stay until those of neutron-l3-agent are installed, so that translation is never interrupted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from l3agent.cli.cleanup import private_dataplane

#: Seconds between two checks for the rules of neutron-l3-agent.
_POLL_S = 0.5


def release(netns_path: str, *, timeout: float, options: Sequence[str] = ()) -> Iterator[tuple[str, str | None]]:
    """Yield the id of each released router with None, and at last the id of each other router with the reason.

    :param netns_path: directory in which the namespaces are mounted.
    :param timeout: seconds to wait for neutron-l3-agent.
    :param options: arguments that name the configuration, which determines the interface driver.
    :raises PermissionMissing: this process lacks the privileges of the data plane.
    :raises TransientError: another data plane serves this directory, or the private one does not answer.
    """
    deadline = time.monotonic() + timeout
    with private_dataplane(netns_path, options) as dataplane:
        while True:
            routers = dataplane.request("release", {})
            yield from ((router, None) for router, reason in sorted(routers.items()) if reason is None)
            left = sorted((router, reason) for router, reason in routers.items() if reason is not None)
            if not left or time.monotonic() > deadline:
                break
            time.sleep(_POLL_S)
    yield from left
