# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from l3agent.dataplane.drift.rotation import next_order
from l3agent.model.states import Key

KEYS: list[Key] = [("router", name) for name in "abcd"]
A, B, C, D = KEYS


def test_states_that_are_applied_again_keep_their_place_in_the_round() -> None:
    order = next_order([], [A, B, C])
    assert order == [A, B, C]
    # A state that is applied again is the last of those that are watched.
    assert next_order(order, [B, C, A]) == [A, B, C]
    assert next_order(order, [D, C, A]) == [A, C, D]
