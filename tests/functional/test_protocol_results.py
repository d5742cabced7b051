# SPDX-License-Identifier: Apache-2.0
"""What the data plane answers, in names: a part of the wire format that :mod:`tests.unit.model.test_protocol` lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l3agent.model.protocol import PROTOCOL
from l3agent.model.wire import pack_state
from tests.support.processes import Dataplane
from tests.support.states import key, new_id, port, router

_NAMES: dict[str, object] = {
    "stats": [
        "applied_states",
        "batches",
        "limits",
        "lost_events",
        "observations",
        "operations",
        "overflows",
        "repair_operations",
        "repairs",
        "rotation_reads",
    ],
    "inventory": ["host", "network", "router"],
    "traffic": ["devices", "floating_ips"],
    "inspect": ["actual", "desired"],
    "unmanage": None,
    "invalidate": None,
}
#: The names in the results of each protocol number. Add an entry with each number.
RESULTS = dict.fromkeys((1, 2, 3), _NAMES)


def test_a_change_of_a_result_raises_the_protocol_number(machine: Dataplane) -> None:
    outside = port(new_id(), "203.0.113.5/24", gateway=True)
    state = router(port(new_id(), "10.0.0.1/24"), gateway=outside, fips={"203.0.113.7": "10.0.0.7"})
    (report,) = machine.reconcile((key(state), state))
    assert report.error is None
    found = {
        "stats": names(machine.request("stats", {})),
        "inventory": names(machine.request("inventory", {})),
        "traffic": names(machine.request("traffic", {"kind": "router", "id": state.id})),
        "inspect": names(machine.request("inspect", {"state": pack_state(key(state), state)})),
        "unmanage": names(machine.request("unmanage", {"keys": [key(state)]})),
        "invalidate": names(machine.request("invalidate", {"keys": None})),
    }
    assert found == RESULTS[PROTOCOL], "a result has changed: raise PROTOCOL in l3agent/model/protocol.py"


def names(result: Any) -> object:
    """Return the sorted names of a map."""
    return sorted(result) if isinstance(result, Mapping) else result
