# SPDX-License-Identifier: Apache-2.0
"""Hand the routers of this machine back to neutron-l3-agent, by the data plane's own operation.

The rules of a router stay until those of neutron-l3-agent are in, so that it translates throughout.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from l3agent.ops.cleanup import own_dataplane

#: Seconds between two looks for the rules of neutron-l3-agent.
_LOOK_S = 0.5
_WAITING = "waiting"


def release(netns_path: str, *, timeout: float) -> Iterator[tuple[str, bool]]:
    """Yield the id of each router and that it was handed back; in the end those that were not.

    :param netns_path: folder where the namespaces are pinned.
    :param timeout: seconds to wait for neutron-l3-agent.
    :raises PermissionMissing: the privilege is missing.
    :raises TransientError: another data plane is at work in this folder, or this one gave no answer.
    """
    deadline = time.monotonic() + timeout
    with own_dataplane(netns_path) as dataplane:
        while True:
            states = dataplane.request("release", {})
            yield from ((router, True) for router, state in sorted(states.items()) if state != _WAITING)
            left = sorted(router for router, state in states.items() if state == _WAITING)
            if not left or time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
    yield from ((router, False) for router in left)
