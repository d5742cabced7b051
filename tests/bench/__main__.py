# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.bench [NAME] [options]``: what the data plane costs; without a name, one router beside others."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from types import ModuleType

from tests.bench import (
    against,
    churn,
    drivers,
    first_packet,
    floating_ips,
    metadata,
    repair,
    resident,
    restart,
    rotation,
    routers,
    scale,
)
from tests.support.sandbox import Sandbox

BENCHES: dict[str, ModuleType] = {
    "routers": routers,
    "floating-ips": floating_ips,
    "restart": restart,
    "repair": repair,
    "rotation": rotation,
    "scale": scale,
    "first-packet": first_packet,
    "resident": resident,
    "churn": churn,
    "metadata": metadata,
    "against": against,
    "drivers": drivers,
}


def main() -> int:
    """Run a benchmark; the part in the sandbox is this program again."""
    options = _options()
    return _inside(options) if options.inside else _in_sandbox()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    names = parser.add_subparsers(dest="name", metavar="NAME")
    for name, bench in BENCHES.items():
        one = names.add_parser(name, help=(bench.__doc__ or "").split(".")[0].lower(), description=bench.__doc__)
        bench.add_options(one)
        one.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE as well")
        one.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = sys.argv[1:]
    return parser.parse_args(given if given[:1] and given[0] in (*BENCHES, "-h", "--help") else ["routers", *given])


def _in_sandbox() -> int:
    """Run this program in namespaces of its own, which take everything along when they end."""
    given = sys.argv[1:] if sys.argv[1:2] and sys.argv[1] in BENCHES else ["routers", *sys.argv[1:]]
    with Sandbox() as sandbox:
        # Entering a mount namespace leads to its root folder.
        stay = ["env", f"--chdir={os.getcwd()}"]
        return sandbox.popen([*stay, sys.executable, "-m", "tests.bench", *given, "--inside"]).wait(None)


def _inside(options: argparse.Namespace) -> int:
    report = BENCHES[options.name].run(options)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
