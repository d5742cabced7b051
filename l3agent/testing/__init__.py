# SPDX-License-Identifier: Apache-2.0
"""For tests of agents built on this library: services run for the time of a block, waits that do not sleep, and fakes
with a memory that fail when told to.

Fakes stand for what is outside: :class:`FakePlugin` for the server, :class:`FakeDataplane` for the data plane. The
agent between them is the real one. ``l3agent.testing.fixtures`` has the rest as fixtures of pytest.
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
