# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.hostile``: attack the data plane as the agent's user and report what it cost.

Random and mutated frames first, then the directed attacks: devices, files and arguments, limits, like port ids.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import pytest

from tests.hostile.attack import attack

_FUNCTIONAL = Path(__file__).parents[1] / "functional"
#: Devices and like port ids, files and arguments, limits of the socket.
DIRECTED = ("test_dataplane_ownership.py", "test_dataplane_trust.py", "test_dataplane_hostile_client.py")


def main() -> int:
    """Attack; return 0 if nothing happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--frames", type=int, default=260_000, help="random and mutated frames (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same frames")
    parser.add_argument("--no-directed", action="store_true", help="leave the directed attacks out")
    options = parser.parse_args()
    outcome = attack(options.frames, options.seed)
    print(json.dumps(dataclasses.asdict(outcome), indent=1), flush=True)
    directed = 0
    if not options.no_directed:
        directed = pytest.main(["-q", "-p", "no:cacheprovider", *(str(_FUNCTIONAL / name) for name in DIRECTED)])
    return 1 if outcome.faults or directed else 0


if __name__ == "__main__":
    sys.exit(main())
