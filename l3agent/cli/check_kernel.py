# SPDX-License-Identifier: Apache-2.0
"""Checks the kernel in a temporary sandbox and prints the results as JSON; ``l3-agentctl check`` runs it."""

from __future__ import annotations

import json
import sys

from l3agent.dataplane.kernel.requirements import run_checks
from l3agent.demo import sandbox
from l3agent.exceptions import PermissionMissing


def main() -> int:
    """Print name, state and text of each check; return exit status 77 if no sandbox can be created."""
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
