# SPDX-License-Identifier: Apache-2.0
"""Detection of greenthreads that outlive a test and would disturb later ones."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import greenlet
from eventlet import hubs

from l3agent.testing.running import wait_until


@contextmanager
def no_leaked_greenthreads(timeout: float = 1.0) -> Iterator[None]:
    """Check that all greenthreads that the block starts have ended.

    :param timeout: seconds for them to end after the block.
    :raises AssertionError: greenthreads are left; the message has the stack of each.
    """
    before = _alive()
    yield
    try:
        wait_until(lambda: not _alive() - before, timeout)
    except TimeoutError:
        leaked = "\n".join(map(_stack, _alive() - before))
        raise AssertionError(f"leaked greenthreads:\n{leaked}") from None


def _alive() -> set[greenlet.greenlet]:
    ours = (greenlet.getcurrent(), hubs.get_hub().greenlet)
    return {one for one in gc.get_objects() if isinstance(one, greenlet.greenlet) and not one.dead and one not in ours}


def _stack(leaked: greenlet.greenlet) -> str:
    return "".join(traceback.format_stack(leaked.gr_frame)) if leaked.gr_frame else f"{leaked!r}, not started"
