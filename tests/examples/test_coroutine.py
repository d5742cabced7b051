# SPDX-License-Identifier: Apache-2.0
"""The program in the guide of the service library whose RPC method waits for a coroutine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "l3agent" / "service" / "README.md"


def test_an_rpc_method_waits_for_a_coroutine_on_the_asyncio_hub(tmp_path: Path) -> None:
    section = GUIDE.read_text().partition("## Migration from eventlet")[2]
    (program,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "EVENTLET_HUB": "asyncio"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "[1, 2]\n"), done.stderr
