# SPDX-License-Identifier: Apache-2.0
"""Process one router again and return the log lines about it, at level DEBUG.

The agent's own log keeps its level: its handlers receive no line that they would otherwise not receive.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
from eventlet.event import Event
from eventlet.semaphore import Semaphore

from l3agent.agent.operator_actions import OperatorActions
from l3agent.agent.results import UpdateResult
from l3agent.agent.view import AgentView
from l3agent.exceptions import InProgress, L3AgentError

_PACKAGE = "l3agent"
_CAPTURE_LOCK = Semaphore()


def replay(agent: AgentView, actions: OperatorActions, router_id: str, timeout: float) -> dict[str, Any]:
    """Fetch a router from the server again and apply it, through the queue as any other update.

    :param timeout: seconds for the update, without the wait for other replays.
    :returns: ``action``, ``result``, ``error``, ``timings``, ``operations`` (a count) and ``log`` (lines).
    :raises L3AgentError: the router is paused, or the agent is drained.
    :raises InProgress: the update did not finish in time; it continues.
    """
    if router_id in agent.paused:
        raise L3AgentError(f"router {router_id}: paused; `l3-agentctl resume` it first")
    if agent.admin != "serving":
        raise L3AgentError("the agent is drained; `l3-agentctl drain --undo` first")
    with _capture_log(router_id) as lines:
        result = _await_result(agent, actions, router_id, timeout)
    return {
        "action": result.action,
        "result": result.status,
        "error": result.error,
        "timings": dict(result.timings),
        "operations": result.operations,
        "log": lines,
    }


def _await_result(agent: AgentView, actions: OperatorActions, router_id: str, timeout: float) -> UpdateResult:
    done, in_progress = Event(), int(agent.queue.is_processing(router_id))

    def on_result(result: UpdateResult) -> None:
        nonlocal in_progress
        if result.router_id == router_id and not done.ready():
            if in_progress:
                in_progress -= 1  # the result of an update that was in progress before
            else:
                done.send(result)

    agent.result_observers.append(on_result)
    try:
        actions.update_router(router_id)
        with eventlet.Timeout(timeout, InProgress(f"router {router_id}: not processed within {timeout:g} s")):
            result: UpdateResult = done.wait()
            return result
    finally:
        agent.result_observers.remove(on_result)


class _LineCollector(logging.Handler):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._text = text
        self.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._text in record.getMessage():
                self.lines.append(self.format(record))
        except Exception:
            self.handleError(record)


class _PreviousLevel(logging.Filter):
    """Drops the records that are created only because the level of the package is lowered."""

    def __init__(self, level: int) -> None:
        super().__init__(_PACKAGE)
        self._level = level

    def filter(self, record: logging.LogRecord) -> bool:
        if not super().filter(record):
            return True
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger is not None and logger.name != _PACKAGE:
            if logger.level:  # it has a level of its own
                return True
            logger = logger.parent
        return record.levelno >= self._level


@contextmanager
def _capture_log(text: str) -> Iterator[list[str]]:
    """Collect the log lines of the package that contain a text, at every level.

    One capture at a time: the level belongs to the whole package.
    """
    with _CAPTURE_LOCK:
        package_logger, collector = logging.getLogger(_PACKAGE), _LineCollector(text)
        previous_level, original_level = package_logger.level, _PreviousLevel(package_logger.getEffectiveLevel())
        handlers = [*logging.getLogger().handlers, *package_logger.handlers]
        for handler in handlers:
            handler.addFilter(original_level)
        package_logger.addHandler(collector)
        package_logger.setLevel(logging.DEBUG)
        try:
            yield collector.lines
        finally:
            package_logger.setLevel(previous_level)
            package_logger.removeHandler(collector)
            for handler in handlers:
                handler.removeFilter(original_level)
