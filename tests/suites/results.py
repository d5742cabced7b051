# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of an installed package, and records the result of each."""

from __future__ import annotations

import unittest
from collections.abc import Iterable, Iterator
from typing import Any

PASSED, FAILED, SKIPPED, HANGS = "passed", "failed", "skipped", "hangs"

#: By test id: the outcome, and the reason.
ResultsByTest = dict[str, tuple[str, str]]


class Result(unittest.TestResult):
    """Keeps the outcome of each test."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: ResultsByTest = {}

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self.outcomes.setdefault(test.id(), (PASSED, ""))

    def addFailure(self, test: Any, err: Any) -> None:
        self.outcomes[test.id()] = (FAILED, self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    addError = addFailure

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.outcomes[test.id()] = (SKIPPED, reason)


def _flatten(suite: Iterable[Any]) -> Iterator[unittest.TestCase]:
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from _flatten(one)
        else:
            yield one


def load(modules: Iterable[str]) -> list[unittest.TestCase]:
    """Return the tests of modules."""
    return list(_flatten(unittest.defaultTestLoader.loadTestsFromNames(list(modules))))
