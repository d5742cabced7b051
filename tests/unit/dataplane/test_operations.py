# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from l3agent.dataplane import operations


class Requester:
    """Records its answers."""

    connected = True

    def __init__(self) -> None:
        self.answers: list[tuple[object, Mapping[str, str] | None, object]] = []

    def answer(self, number: object, error: Mapping[str, str] | None, result: object) -> None:
        self.answers.append((number, error, result))


def test_an_unexpected_error_is_answered_as_internal_and_logged_with_its_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Simulate a defect, since no frame is known that causes one."""

    def defect(resources: Any, args: Mapping[str, Any]) -> object:
        raise ZeroDivisionError("a defect")

    monkeypatch.setitem(operations.OPERATIONS, "stats", defect)
    requester, resources = Requester(), Any
    list(operations.execute(resources, requester, [7, "stats", {}]))  # type: ignore[arg-type]
    assert requester.answers == [(7, {"type": "ZeroDivisionError", "message": "internal error: a defect"}, None)]
    assert "request 7" in caplog.text and "Traceback" in caplog.text and "in defect" in caplog.text


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (["reconcile", {}], "states: missing: expected a list"),
        (["reconcile", {"states": {}}], "states: a map: expected a list"),
        (["reconcile", {"states": ["router"]}], "states: 'router': expected a map"),
        (["reconcile", {"states": [], "dry_run": "no"}], "dry_run: 'no': expected true or false"),
        (["reconcile", {"states": [], "lines": True}], "lines: True: expected a whole number"),
        (["inspect", {"state": [[]]}], "state: a list: expected a map"),
        (["inventory", {"marked": 1}], "marked: 1: expected true or false"),
        (["invalidate", {}], "keys: missing: expected a list"),
        (["unmanage", {"keys": None}], "keys: None: expected a list"),
        (["unmanage", {"keys": [["router", "1"], ["router"]]}], "keys: a list: expected a kind and an id"),
        (["unmanage", {"keys": ["ab"]}], "keys: 'ab': expected a kind and an id"),
        (["unmanage", {"keys": [["router", 7]]}], "keys: a list: expected a kind and an id"),
        (["stats", []], "stats: the arguments are not a map"),
    ],
)
def test_an_invalid_argument_is_one_error_with_its_name_and_changes_nothing(request_: list[Any], message: str) -> None:
    requester = Requester()
    used = SimpleNamespace(
        reconciler=SimpleNamespace(turns=None, inventory=None), drift=SimpleNamespace(invalidate=None)
    )
    assert list(operations.execute(cast(Any, used), requester, [7, *request_])) == []
    ((number, error, result),) = requester.answers
    assert (number, error, result) == (7, {"type": "ValueError", "message": message}, None)
