# SPDX-License-Identifier: Apache-2.0
"""oslo.service's own tests of services, thread groups and looping calls, from the installed package, with our classes.

``python -m tests.suites.service`` puts the classes of ``l3agent.service`` in the places of oslo.service's and runs each
test in a process of its own, several at a time. Tests that must fail or hang are those of ``service-differences.txt``,
each with its outcome and the reason; any other outcome makes the exit status 1. ``python -m tests.suites.service TEST``
runs single tests and prints their output.
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
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.suites.results import FAILED, HANGS, PASSED, Result, ResultsByTest, load

MODULES = ("service", "threadgroup", "loopingcall")
DIFFERENCES = Path(__file__).with_name("service-differences.txt")
#: Seconds for one test.
DEADLINE_S = 60
#: Maximum number of listed tests per module.
MOST = {"service": 5}
#: Minimum number of tests per module; fewer mean that they were not found.
LEAST = {"service": 36, "threadgroup": 13, "loopingcall": 31}
#: Tests that must pass and may not be listed.
REQUIRED = (
    "test_parent_signal_sighup",
    "test_no_fork",
    "test_stop",
    "ServiceRestartTest.test_service_restart",
    "ServiceLauncherTest.test_terminate_sigterm",
    "ServiceRestartTest.test_terminate_sigterm",
    "test_mutate_hook_process_launcher",
)
# Most of a test is waiting for processes.
_PARALLEL = 6


# ---- the process that runs one test ----------------------------------------------------------------------------


def put_in_place() -> None:
    """Replace the classes of oslo.service by ours of the same name."""
    import l3agent.service as ours  # first: it chooses the backend

    # isort: split
    from oslo_service import loopingcall, service, threadgroup

    from l3agent.service import loopingcall as our_loopingcall
    from l3agent.service import threadgroup as our_threadgroup

    for theirs, of_ours in (
        (service, ours),
        (threadgroup, our_threadgroup),
        (loopingcall, our_loopingcall),
    ):
        for name in vars(theirs):
            if name[0].isupper() or name == "launch":
                setattr(theirs, name, getattr(of_ours, name))


def load_tests() -> dict[str, unittest.TestCase]:
    """Return the tests by the ids of the list: module, class, method."""
    put_in_place()
    prefix = "oslo_service.tests.test_"
    return {test.id().removeprefix(prefix): test for test in load(prefix + module for module in MODULES)}


def run_here(outcome: Path, wanted: str) -> None:
    """Run one test in this process, and write its result to a file, as JSON."""
    result = Result()
    load_tests()[wanted].run(result)
    ((found, why),) = result.outcomes.values()
    outcome.write_text(json.dumps([found, why]))
    sys.stdout.flush()
    os._exit(0)  # the suite leaves threads behind


# ---- the process that compares ---------------------------------------------------------------------------------


def run(test: str) -> tuple[str, str]:
    """Run one test in its own process; return its result and its output."""
    mark = f"L3AGENT_SUITE={uuid.uuid4()}"
    with tempfile.TemporaryDirectory(prefix="l3-suite-") as folder:
        file, log = Path(folder, "outcome"), Path(folder, "log")
        argv = [sys.executable, "-W", "ignore", "-m", "tests.suites.service", "--run", str(file), test]
        environment = os.environ | dict([mark.split("=")])
        with log.open("wb") as output:
            process = subprocess.Popen(argv, stdout=output, stderr=output, env=environment, start_new_session=True)
        try:
            process.wait(timeout=DEADLINE_S)
            found, why = json.loads(file.read_text())
        except subprocess.TimeoutExpired:
            found, why = HANGS, f"not done within {DEADLINE_S} s\n{log.read_text(errors='replace')}"
        except (ValueError, OSError):
            found, why = FAILED, f"status {process.poll()}\n{log.read_text(errors='replace')}"
        finally:
            _kill(mark)
            process.wait()
    return found, why


def _kill(mark: str) -> None:
    """Kill the processes of a test, which have the mark in their environment: each has a session of its own.

    Repeat until none is left, since a process may fork between the scan of /proc and its end.
    """
    while marked := _marked(mark):
        for pid in marked:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    """Return the processes with the mark in their environment; a zombie has none."""
    marked = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark.encode() in environment.read_bytes().split(b"\0"):
                marked.append(int(environment.parent.name))
    return marked


def differences() -> ResultsByTest:
    """Return the tests that must not pass, each with the result and the reason."""
    lines = [line for line in DIFFERENCES.read_text().splitlines() if line and not line.startswith("#")]
    return {test: (outcome, why) for test, outcome, why in (line.split(maxsplit=2) for line in lines)}


def complaints(outcomes: ResultsByTest, expected: ResultsByTest) -> list[str]:
    """Return the unexpected results, one line each."""
    listed, found = Counter(map(_module, expected)), Counter(map(_module, outcomes))
    wrong = [
        f"{module}: {found[module]} tests, at least {least} expected"
        for module, least in LEAST.items()
        if found[module] < least
    ]
    wrong += [
        f"{module}: {listed[module]} tests are listed, at most {most} may be"
        for module, most in MOST.items()
        if listed[module] > most
    ]
    wrong += [f"{test}: is listed, and there is no such test" for test in expected if test not in outcomes]
    wrong += [f"{test}: must pass, and is listed" for test in expected if test.endswith(REQUIRED)]
    for test, (outcome, why) in outcomes.items():
        due = expected.get(test, (PASSED, ""))[0]
        if outcome != due:
            wrong.append(f"{test}: {outcome}, expected: {due}\n{why}")
    return wrong


def _module(test: str) -> str:
    return test.partition(".")[0]


def main() -> int:
    """Run all tests, or the named ones."""
    if sys.argv[1:2] == ["--run"]:
        run_here(Path(sys.argv[2]), sys.argv[3])
    if sys.argv[1:]:
        print(*(f"{test}: {' '.join(run(test))}" for test in sys.argv[1:]), sep="\n")
        return 0
    listed = differences()
    # Tests that hang take longest, so they start first.
    tests = sorted(load_tests(), key=lambda test: listed.get(test, ("", ""))[0] != HANGS)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        outcomes = dict(zip(tests, pool.map(run, tests), strict=True))
    for test, (outcome, _) in outcomes.items():
        print(f"{outcome:8} {test}")
    wrong = complaints(outcomes, listed)
    print(*wrong, f"{len(outcomes)} tests, {len(listed)} of them listed, {len(wrong)} complaints", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
