# SPDX-License-Identifier: Apache-2.0
"""The far end of :mod:`tests.bench.checkout`: drives the data plane of the checkout that PYTHONPATH names.

Reads one JSON list ``[operation, router number]`` per line and answers with one JSON map ``{"wall": seconds}``. This
file may be newer than the checkout it drives, so it uses only names that both have.
"""

from __future__ import annotations

import json
import sys
import time

from tests.bench.canonical import router, with_one_more
from tests.bench.ours import DataplaneProcess


def main() -> None:
    """Serve requests until the end of input."""
    tribe, routers, floating_ips = map(int, sys.argv[1:])
    ours = DataplaneProcess("checkout", tribe)
    made = [router(tribe, number, floating_ips) for number in range(routers)]
    more = [with_one_more(one) for one in made]
    ours.start(made)
    _answer({"wall": 0.0})
    for line in sys.stdin:
        operation, number = json.loads(line)
        if operation == "cpu":
            _answer({"wall": ours.cpu()})
            continue
        call = getattr(ours, operation)
        arguments = (made[number],) if operation in ("build", "look", "delete") else (
            more[number] if operation == "add" else (made[number], more[number][1])
        )  # fmt: skip
        started = time.perf_counter()
        call(*arguments)
        _answer({"wall": time.perf_counter() - started})


def _answer(answer: dict[str, float]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
