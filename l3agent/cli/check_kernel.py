# SPDX-License-Identifier: Apache-2.0
"""Tries what the kernel can do, in a sandbox that vanishes, and prints it as JSON; ``l3-agentctl check`` runs it."""

from __future__ import annotations

import json
import sys

from l3agent.dataplane.kernel.requirements import run_checks
from l3agent.demo import sandbox
from l3agent.exceptions import PermissionMissing


def main() -> int:
    """Print name, state and text of each trial; exit status 77 where nothing can be tried."""
    try:
        return sandbox.run(_print_checks)
    except PermissionMissing as exc:
        print(exc, file=sys.stderr)
        return 77


def _print_checks(pin: str) -> int:
    print(json.dumps(run_checks()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
