# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys


def test_the_library_of_open_vswitch_does_not_bring_eventlet_into_the_data_plane() -> None:
    """``ovs.poller`` imports it wherever it is installed; here it is."""
    program = (
        "import sys, l3agent.cmd.dataplane, l3agent.dataplane.ovsdb.thread, ovs.poller; "
        "assert 'eventlet' not in sys.modules and 'greenlet' not in sys.modules; "
        "import eventlet"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
