# SPDX-License-Identifier: Apache-2.0
"""oslo.messaging's own functional suite, from the installed package, over ``local://`` and over ``rabbit://``.

``python -m tests.suites.messaging`` runs both in one environment, and fails if a test fails or is skipped over
``local://`` that passes over ``rabbit://``. What is skipped over ``rabbit://`` counts as passed nowhere.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import unittest
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.suites.results import FAILED, PASSED, Result, ResultsByTest, load

MODULES = ("oslo_messaging.tests.functional.test_functional", "oslo_messaging.tests.functional.notify.test_logger")
#: Processes at a time: most of the suite is waiting.
_PARALLEL = 6
#: Seconds for the tests of one process.
_DEADLINE_S = 180
#: The suite has 31 tests today, which all pass over RabbitMQ; far fewer would mean that it was not run.
LEAST = 28


# ---- the process that runs tests -------------------------------------------------------------------------------


class _Claims(str):
    """A URL with the prefix ``rabbit://``: two tests are skipped for other prefixes, regardless of features."""

    def startswith(self, prefix: Any, *bounds: Any) -> bool:
        return prefix == "rabbit://" or super().startswith(prefix, *bounds)


def run_here(outcomes: Path, wanted: list[str]) -> None:
    """Run tests in this process, and write their results to a file, as JSON."""
    from oslo_messaging.tests.functional import utils

    set_up = utils.SkipIfNoTransportURL.setUp

    def claiming(self: Any, **settings: Any) -> None:
        set_up(self, **settings)
        self.rpc_url = _Claims(self.rpc_url)

    utils.SkipIfNoTransportURL.setUp = claiming
    result = Result()
    unittest.TestSuite(test for test in load(MODULES) if test.id() in wanted).run(result)
    outcomes.write_text(json.dumps(result.outcomes))
    os._exit(0)  # the suite leaves threads behind


# ---- the process that compares ---------------------------------------------------------------------------------


def run(url: str, wanted: list[str]) -> ResultsByTest:
    """Run tests in a process of their own."""
    environment = {**os.environ, "RPC_TRANSPORT_URL": url, "NOTIFY_TRANSPORT_URL": url}
    with tempfile.TemporaryDirectory(prefix="l3-suite-") as folder:
        file, log = Path(folder, "outcomes"), Path(folder, "log")
        argv = [sys.executable, "-W", "ignore", "-m", "tests.suites.messaging", "--run", str(file), *wanted]
        with log.open("wb") as output:
            process = subprocess.Popen(argv, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            process.wait(timeout=_DEADLINE_S)
            outcomes: ResultsByTest = json.loads(file.read_text())
        except subprocess.TimeoutExpired:
            return dict.fromkeys(wanted, (FAILED, f"hangs: not done within {_DEADLINE_S} s"))
        except (ValueError, OSError):
            return dict.fromkeys(wanted, (FAILED, log.read_text(errors="replace")))
        finally:
            with suppress(ProcessLookupError):  # a test that fails leaves the server of its metrics behind
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return {test: outcomes.get(test, (FAILED, "did not run")) for test in wanted}


def shares(tests: list[str]) -> tuple[list[list[str]], list[list[str]]]:
    """Divide the tests into groups that may run in parallel, and tests that use a fixed port of the machine."""
    alone = [test for test in tests if "Metrics" in test]
    slow = [test for test in tests if "test_logger" in test or "CallTestCase" in test]
    rest = [test for test in tests if test not in alone and test not in slow]
    return [*([test] for test in slow), rest[::2], rest[1::2]], [[test] for test in alone]


def run_all(urls: dict[str, str], tests: list[str]) -> dict[str, ResultsByTest]:
    """Run all tests over each transport; repeat failed ones alone, since the suite has timeouts of 0.5 s."""
    outcomes: dict[str, ResultsByTest] = {name: {} for name in urls}
    beside, alone = shares(tests)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        runs = [(name, pool.submit(run, url, share)) for share in beside for name, url in urls.items()]
    for name, future in runs:
        outcomes[name].update(future.result())
    for name, url in urls.items():
        failed = [[test] for test, (outcome, _) in outcomes[name].items() if outcome == FAILED]
        for share in [*alone, *failed]:
            outcomes[name].update(run(url, share))
    return outcomes


def main() -> int:
    """Run the suite over both transports, and compare the results."""
    if sys.argv[1:2] == ["--run"]:
        run_here(Path(sys.argv[2]), sys.argv[3:])
    import tests.support.rabbit as rabbits  # not in a process that runs tests

    node = rabbits.Rabbit(Path(tempfile.mkdtemp(prefix="l3-suite-")))
    try:
        node.start()
        tests = [test.id() for test in load(MODULES)]
        outcomes = run_all({"rabbit": node.url, "local": f"local:///{uuid.uuid4()}"}, tests)
    finally:
        node.close()
    return compare(outcomes["rabbit"], outcomes["local"])


def compare(rabbit: ResultsByTest, local: ResultsByTest) -> int:
    """Print the outcomes; return 1 if a test that passes over RabbitMQ does not pass over ``local://``."""
    worse = [test for test, (outcome, _) in rabbit.items() if outcome == PASSED and local[test][0] != PASSED]
    for test in rabbit:
        print(f"rabbit {rabbit[test][0]:8} local {local[test][0]:8} {test}")
    for name, found in (("rabbit", rabbit), ("local", local)):
        for test, (outcome, why) in found.items():
            if outcome != PASSED:
                print(f"--- {name}: {test} {outcome}: {why}")
    passed = sum(outcome == PASSED for outcome, _ in rabbit.values())
    print(f"{len(rabbit)} tests, {passed} pass over rabbit://, {len(worse)} of these do not pass over local://")
    if passed < LEAST:
        print(f"at least {LEAST} must pass over rabbit://")
    return int(bool(worse) or passed < LEAST)


if __name__ == "__main__":
    sys.exit(main())
