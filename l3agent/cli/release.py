# SPDX-License-Identifier: Apache-2.0
"""Hand the routers of this machine back to neutron-l3-agent, by the data plane's own operation.

The rules of a router stay until those of neutron-l3-agent are in, so that it translates throughout.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from l3agent.cli.cleanup import private_dataplane

#: Seconds between two looks for the rules of neutron-l3-agent.
_POLL_S = 0.5


def release(netns_path: str, *, timeout: float, options: Sequence[str] = ()) -> Iterator[tuple[str, str | None]]:
    """Yield the id of each router that was handed back with None, and in the end the others with the reason.

    :param netns_path: folder where the namespaces are pinned.
    :param timeout: seconds to wait for neutron-l3-agent.
    :param options: arguments that name the configuration, for how ports are plugged in.
    :raises PermissionMissing: the privilege is missing.
    :raises TransientError: another data plane is at work in this folder, or this one gave no answer.
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
