# SPDX-License-Identifier: Apache-2.0
"""Flows that send during every step of a change, and what they lose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.support.neutron_router import Steady
from tests.support.sandbox import Sandbox
from tests.support.states import namespace
from tests.support.traffic import Machine


@contextmanager
def nothing_lost(sandbox: Sandbox, servers: Iterable[Machine], ways: Iterable[tuple[Machine, str]]) -> Iterator[None]:
    """Check that a block interrupts no TCP stream and loses no ping, one each 10 ms, on any of some ways.

    :param servers: what answers.
    :param ways: who sends, and the address to which.
    """
    named = [(namespace(machine), to) for machine, to in ways]
    with Steady(sandbox, [namespace(one) for one in servers], [("stream", *way) for way in named], named) as steady:
        steady.goes_on(5)
        yield
        steady.goes_on()
        assert {name: count["lost"] for name, count in steady.counts().items() if count["lost"]} == {}
        lost = {way: numbers for way, numbers in zip(named, steady.unanswered(), strict=True) if numbers}
        assert lost == {}
