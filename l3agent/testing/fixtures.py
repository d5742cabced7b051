# SPDX-License-Identifier: Apache-2.0
"""Fixtures of pytest. In a ``conftest.py``: ``pytest_plugins = ["l3agent.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from l3agent.testing import leaks, transports


@pytest.fixture
def local_transport() -> Iterator[Any]:
    """A ``local://`` transport of the test's own."""
    with transports.local_transport() as transport:
        yield transport


@pytest.fixture
def no_leaked_greenthreads() -> Iterator[None]:
    """Fail the test when greenthreads that it began are left behind."""
    with leaks.no_leaked_greenthreads():
        yield
