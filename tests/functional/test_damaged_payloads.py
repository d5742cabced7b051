# SPDX-License-Identifier: Apache-2.0
"""What the validation lets through, the kernel takes: nothing is left for the kernel to refuse."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings

from l3agent.exceptions import RouterError
from l3agent.model.states import NamespaceState
from tests.support.payloads import a_port, a_router
from tests.support.processes import Dataplane
from tests.support.states import desired_namespace
from tests.support.strategies import damaged_payloads

# Its port is in no damaged payload: two routers cannot own one.
BYSTANDER = desired_namespace(
    a_router(id="b1000000-0000-4000-8000-000000000000", gw_port=None, _interfaces=[a_port(99)])
)


@pytest.fixture(scope="module")
def bystander(machine: Dataplane) -> NamespaceState:
    """A router that is in order and has nothing to do with the others."""
    (report,) = machine.reconcile((("router", BYSTANDER.id), BYSTANDER))
    assert report.error is None
    return BYSTANDER


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(payload=damaged_payloads())
def test_a_payload_that_is_accepted_is_built_and_the_others_go_on(
    machine: Dataplane, bystander: NamespaceState, payload: Any
) -> None:
    try:
        state = desired_namespace(payload)
    except RouterError:
        assume(False)
    event("built")
    key = ("router", state.id)
    (first,) = machine.reconcile((key, state))
    assert first.error is None
    again, untouched = machine.reconcile((key, state), (("router", bystander.id), bystander))
    assert (again.error, again.operations) == (None, ())
    assert (untouched.error, untouched.operations) == (None, ())
    (removed,) = machine.reconcile((key, None))
    assert removed.error is None
