# SPDX-License-Identifier: Apache-2.0
"""A topology file is read in a native thread while the hub runs: no green lock of eventlet may be shared by both.

Runs in a separate process, because native locks would stay in effect for all later tests.
"""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import warnings; warnings.simplefilter("ignore")
import eventlet; eventlet.monkey_patch()
import sys
from ipaddress import ip_network
from eventlet import tpool
from l3agent.agent.native_thread import use_native_locks

if sys.argv[1] == "native":
    use_native_locks()
sys.setswitchinterval(1e-6)

def work(base):
    for number in range(30_000):
        ip_network((base + number * 256, 24)).broadcast_address

def green():
    for part in range(60):
        for number in range(1_000):
            ip_network((part * 2**20 + number * 256, 24)).broadcast_address
        eventlet.sleep(0)

threads = [eventlet.spawn(tpool.execute, work, 2**30 + n * 2**26) for n in range(3)]
threads.append(eventlet.spawn(green))
with eventlet.Timeout(float(sys.argv[2])):
    for thread in threads:
        thread.wait()
print("done")
"""


def run(kind: str, seconds: float) -> str:
    argv = [sys.executable, "-c", PROGRAM, kind, str(seconds)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200, check=False).stdout


def test_addresses_are_computed_in_a_native_thread_and_in_greenthreads_concurrently() -> None:
    assert run("native", 150) == "done\n"
