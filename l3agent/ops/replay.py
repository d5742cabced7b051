# SPDX-License-Identifier: Apache-2.0
"""Work on one router once more, and tell what the log says of that router at the level of debug.

The log of the agent itself stays as it is: nothing that it would leave out is written to it meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
from eventlet.event import Event
from eventlet.semaphore import Semaphore

from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.results import UpdateResult
from l3agent.exceptions import InProgress, L3AgentError

_PACKAGE = "l3agent"
_CAPTURE_LOCK = Semaphore()


def replay(agent: L3NATAgent, router_id: str, timeout: float) -> dict[str, Any]:
    """Ask the server for a router again and bring it to the kernel, in turn with the other news of the server.

    :param timeout: seconds for the work; others that are replayed are waited for before.
    :returns: ``action``, ``result``, ``error``, ``timings``, ``operations`` (how many) and ``log`` (lines).
    :raises L3AgentError: nothing is done for it now: the router is paused, or the agent drained.
    :raises InProgress: it was not worked off in time; it goes on.
    """
    if router_id in agent.maintenance.paused:
        raise L3AgentError(f"router {router_id}: paused; `l3-agentctl resume` it first")
    if agent.maintenance.state != "serving":
        raise L3AgentError("the agent is drained; `l3-agentctl drain --undo` first")
    with _capture_log(router_id) as lines:
        result = _await_result(agent, router_id, timeout)
    return {
        "action": result.action,
        "result": result.outcome,
        "error": result.error,
        "timings": dict(result.timings),
        "operations": result.operations,
        "log": lines,
    }


def _await_result(agent: L3NATAgent, router_id: str, timeout: float) -> UpdateResult:
    done, in_progress = Event(), int(agent.queue.is_processing(router_id))

    def on_result(result: UpdateResult) -> None:
        nonlocal in_progress
        if result.router_id == router_id and not done.ready():
            if in_progress:
                in_progress -= 1  # of work that was in hand before
            else:
                done.send(result)

    agent.results.observers.append(on_result)
    try:
        agent.routers_updated(None, [router_id])
        with eventlet.Timeout(timeout, InProgress(f"router {router_id}: not worked off within {timeout:g} s")):
            result: UpdateResult = done.wait()
            return result
    finally:
        agent.results.observers.remove(on_result)


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


class _FormerLevel(logging.Filter):
    """Lets through what is written when nobody listens: what only the lower level of our package brings is left out."""

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
    """Collect what this program logs with a word in it, at every level; one at a time, for there is one level."""
    with _CAPTURE_LOCK:
        package_logger, collector = logging.getLogger(_PACKAGE), _LineCollector(text)
        previous_level, original_level = package_logger.level, _FormerLevel(package_logger.getEffectiveLevel())
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
