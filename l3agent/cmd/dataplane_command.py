# SPDX-License-Identifier: Apache-2.0
"""The command line by which l3-agent starts l3-dataplane."""

from __future__ import annotations

import os
import sys


def dataplane_program() -> list[str]:
    """Return the program: the script beside this interpreter, else the module run by it; paths are absolute."""
    script = os.path.join(os.path.dirname(sys.executable), "l3-dataplane")
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-m", "l3agent.cmd.dataplane"]
