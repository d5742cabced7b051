# SPDX-License-Identifier: Apache-2.0
"""Forked workers over a real broker: a signal to their group loses no call, and a transport works after the fork."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.rabbit import Rabbit
from tests.support.workers import SIGNALS, Peer, signal_during_calls

pytestmark = pytest.mark.forks


@pytest.fixture
def peer(rabbit: Rabbit) -> Iterator[Peer]:
    peer = Peer(rabbit.url)
    yield peer
    peer.close()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_the_process_group_loses_no_call(rabbit: Rabbit, peer: Peer, number: signal.Signals) -> None:
    """Use the transport before the fork; then the parent and each worker call the peer over it."""
    run = signal_during_calls(rabbit.url, peer, number, calls=2)
    assert (run.status, run.lost, len(run.answers)) == (0, [], 2)
