# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from l3agent.testing import wait_until
from tests.support.service_process import Process


def _is_alive(pid: int) -> bool:
    with suppress(OSError):
        return not Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return False


@pytest.mark.forks
def test_close_kills_the_workers_too(start: Callable[..., Process]) -> None:
    process = start("long_stop", workers=2)
    workers = {process.line("started")[0] for _ in range(2)}
    assert len(workers) == 2
    process.close()
    wait_until(lambda: not any(map(_is_alive, workers)), timeout=30)
