# SPDX-License-Identifier: Apache-2.0
"""The greenthreads of a server."""

from __future__ import annotations

import eventlet
import pytest

from l3agent.rpc.message_pool import MessagePool


def test_messages_beyond_the_maximum_wait_in_order() -> None:
    pool, begun, go_on = MessagePool(2), list[int](), eventlet.Event()

    def work(number: int) -> None:
        begun.append(number)
        go_on.wait()

    for number in range(5):
        pool.submit(work, number)
    eventlet.sleep(0.01)
    assert begun == [0, 1]
    go_on.send()
    with eventlet.Timeout(5):
        pool.shutdown()
    assert begun == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("error", [RuntimeError("x"), eventlet.Timeout(None), SystemExit(1)])
def test_one_that_dies_of_whatever_does_not_cost_the_next(error: BaseException) -> None:
    pool, done = MessagePool(1), list[str]()

    def die() -> None:
        raise error

    pool.submit(die)
    pool.submit(done.append, "next")
    with eventlet.Timeout(5):
        pool.shutdown()
    assert done == ["next"]


def test_shutdown_waits_for_messages_in_flight() -> None:
    pool, done = MessagePool(1), list[str]()
    pool.submit(lambda: (eventlet.sleep(0.05), done.append("done")))
    pool.shutdown(wait=False)
    assert done == []
    pool.shutdown()
    assert done == ["done"]
