# SPDX-License-Identifier: Apache-2.0
"""Effects of importing the library, each in its own process."""

from __future__ import annotations

import subprocess
import sys

import pytest

_QUIET = """
import os, signal, sys, threading, warnings
warnings.simplefilter("ignore")
def state():
    return len(os.listdir("/proc/self/fd")), threading.active_count(), [signal.getsignal(n) for n in range(1, 32)]
before = state()
import l3agent.rpc, l3agent.rpc.local, l3agent.service
from eventlet import patcher
assert not any(patcher.is_monkey_patched(name) for name in ("socket", "thread", "os", "time", "select"))
assert state() == before, (before, state())
"""
_CHOSEN = """
import warnings
warnings.simplefilter("ignore")
import l3agent.service
from oslo_service import backend
assert backend.get_backend_type() is backend.BackendType.EVENTLET
"""
_ANOTHER_CHOSEN = """
import warnings
warnings.simplefilter("ignore")
from oslo_service import backend
backend._cached_backend_type = backend.BackendType.THREADING  # as after init_backend, which needs cotyledon
from l3agent.exceptions import ConfigError
try:
    import l3agent.service
except ConfigError as error:
    assert "l3agent needs the eventlet backend of oslo.service" in str(error), error
else:
    raise AssertionError("nothing was said")
"""


@pytest.mark.feature("process.library")
@pytest.mark.parametrize("program", [_QUIET, _CHOSEN, _ANOTHER_CHOSEN], ids=["quiet", "chosen", "another chosen"])
def test_import(program: str) -> None:
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
