# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from l3agent.dataplane import kernel_thread


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

    monkeypatch.setitem(kernel_thread.OPERATIONS, "stats", defect)
    requester, resources = Requester(), Any
    list(kernel_thread._execute(resources, requester, [7, "stats", {}]))  # type: ignore[arg-type]
    assert requester.answers == [(7, {"type": "ZeroDivisionError", "message": "internal error: a defect"}, None)]
    assert "request 7" in caplog.text and "Traceback" in caplog.text and "in defect" in caplog.text
