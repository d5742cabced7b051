# SPDX-License-Identifier: Apache-2.0
import warnings

with warnings.catch_warnings():
    # eventlet says at import that it is deprecated; we know, and the bounds in pyproject.toml say so.
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

# isort: split
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator

import eventlet.debug
import hypothesis
import pytest

from tests.support.parts import MISSING

#: Nothing may be left out: a part that is missing is a failure.
REQUIRE_ALL = os.environ.get("CI") == "true" or os.environ.get("L3AGENT_REQUIRE_ALL") == "1"
#: The fixture that needs a part of the machine, and the part.
_NEEDS = {"sandbox": "kernel", "machine": "kernel", "rabbit": "broker", "rabbit_node": "broker"}
# Tests of these run greenthreads. Not of l3agent.service: oslo.service has SIGALRM for itself.
_WATCHED = ("tests/unit/rpc", "tests/unit/agent", "tests/unit/ops", "tests/unit/standalone")
_HUB_SECONDS = 5
#: Seconds for each of setup, call and teardown of a test.
_PHASE_SECONDS = 240
#: Of one under a real neutron-server, which takes a second or more for most answers.
_NEUTRON_PHASE_SECONDS = 1200
#: Of one that boots guests, whose instructions qemu translates.
_GUEST_PHASE_SECONDS = 900

_left_out: dict[str, list[str]] = {}

# Timing says nothing about a property on a machine that others use too.
hypothesis.settings.register_profile("l3agent", deadline=None, print_blob=True)
hypothesis.settings.load_profile("l3agent")

# A shell has programs in its background ignore SIGINT, and they hand that down to every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the plans of tests/scenarios anew")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    needed = {_NEEDS[name] for name in getattr(item, "fixturenames", ()) if name in _NEEDS}
    needed |= {mark.name for mark in item.iter_markers() if mark.name in MISSING}
    for part in sorted(needed):
        if reason := MISSING[part]():
            if REQUIRE_ALL:
                pytest.fail(f"{part} is missing: {reason}", pytrace=False)
            pytest.skip(f"{part}: {reason}")
    # A test that waits for ever must not keep the others from being run.
    with eventlet.Timeout(_phase_seconds(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with eventlet.Timeout(_phase_seconds(item)):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with eventlet.Timeout(_phase_seconds(item)):
        return (yield)


def _phase_seconds(item: pytest.Item) -> int:
    if item.get_closest_marker("guests"):
        return _GUEST_PHASE_SECONDS
    return _NEUTRON_PHASE_SECONDS if item.get_closest_marker("neutron") else _PHASE_SECONDS


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report = yield
    if report.skipped and not hasattr(report, "wasxfail"):
        _record_skip(report.longrepr, item.nodeid)
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        _record_skip(report.longrepr, report.nodeid)


def _record_skip(longrepr: object, nodeid: str) -> None:
    reason = longrepr[2].removeprefix("Skipped: ") if isinstance(longrepr, tuple) else "skipped"
    _left_out.setdefault(reason, []).append(nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if REQUIRE_ALL and _left_out and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last of all what did not run, where nobody can overlook it."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None or not _left_out:
        return
    count = sum(map(len, _left_out.values()))
    terminal.write_line(f"Did not run here: {count} tests.", yellow=True)
    for reason, tests in sorted(_left_out.items()):
        terminal.write_line(f"  {reason}", yellow=True)
        for path, number in Counter(name.partition("::")[0] for name in tests).items():
            terminal.write_line(f"    {path}: {number} tests", yellow=True)


@pytest.fixture(autouse=True)
def _hub_is_never_blocked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make a test fail when something in it holds the hub for seconds."""
    watched = request.node.nodeid.startswith(_WATCHED)
    if watched:
        eventlet.debug.hub_blocking_detection(True, _HUB_SECONDS)
    yield
    if watched:
        eventlet.debug.hub_blocking_detection(False)


@pytest.fixture(autouse=True)
def _log_handlers_end_with_their_test() -> Iterator[None]:
    """Take away what a program under test put on the root logger: it writes to a stderr that ends with the test."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(before):
        # Those of pytest come and go with each phase.
        if not type(handler).__module__.startswith("_pytest."):
            root.removeHandler(handler)
    root.setLevel(level)
