# SPDX-License-Identifier: Apache-2.0
"""Helpers for tests of agents: services run for the duration of a block, polling waits, and stateful fakes.

The fakes replace the peers of an agent: :class:`FakePlugin` the server, :class:`FakeDataplane` the data plane. They
fail on request. ``l3agent.testing.fixtures`` has pytest fixtures.
"""

from __future__ import annotations

from l3agent.testing.fake_dataplane import FakeDataplane
from l3agent.testing.fake_plugin import FakePlugin
from l3agent.testing.leaks import no_leaked_greenthreads
from l3agent.testing.running import running, wait_until
from l3agent.testing.transports import local_transport

__all__ = [
    "FakeDataplane",
    "FakePlugin",
    "local_transport",
    "no_leaked_greenthreads",
    "running",
    "wait_until",
]
