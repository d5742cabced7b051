# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from l3agent.ops.control import ControlSocket
from l3agent.testing import running

STATUS = {
    "version": "1", "host": "node1", "now": 1.0, "in_sync": True, "full_syncs": 1, "admin": "serving", "queue": {},
    "workers": {"busy": 0, "size": 8}, "mass_delete": {"held": []},
    "dataplane": {"connected": True, "pid": 7, "version": "1", "reason": None},
    "routers": {}, "failures": {}, "orphans": {}, "paused": [], "unserved_features": {},
}  # fmt: skip


def test_watch_goes_on_while_the_agent_is_restarted() -> None:
    folder = Path(tempfile.mkdtemp(prefix="l3-"))
    argv = [sys.executable, "-m", "l3agent.cli.main", "status", "--watch", "0.1", "--socket", str(folder / "s")]
    try:
        with running(ControlSocket(str(folder / "s"), {"status": lambda request: STATUS})):
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            _read_until(process, "on node1: in sync")
        _read_until(process, "trying again")
        with running(ControlSocket(str(folder / "s"), {"status": lambda request: STATUS})):
            _read_until(process, "on node1: in sync")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    assert any(wanted in line for line in process.stdout), f"ended without {wanted!r}"
