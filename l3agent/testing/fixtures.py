# SPDX-License-Identifier: Apache-2.0
"""Pytest fixtures. In a ``conftest.py``: ``pytest_plugins = ["l3agent.testing.fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from l3agent.testing import leaks, transports


@pytest.fixture
def local_transport() -> Iterator[Any]:
    """Provide a ``local://`` transport that no other test shares."""
    with transports.local_transport() as transport:
        yield transport


@pytest.fixture
def no_leaked_greenthreads() -> Iterator[None]:
    """Fail the test if greenthreads that it started outlive it."""
    with leaks.no_leaked_greenthreads():
        yield
