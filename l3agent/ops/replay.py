# SPDX-License-Identifier: Apache-2.0
"""Work on one router once more, and tell all of it: what the log says of that router at the level of debug.

The log of the agent itself stays as it is: nothing that it would leave out is written to it meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import eventlet
from eventlet.event import Event

from l3agent.agent.l3_agent import L3NATAgent
from l3agent.agent.outcomes import Outcome
from l3agent.exceptions import L3AgentError, TransientError

_PACKAGE = "l3agent"


def replay(agent: L3NATAgent, router_id: str, timeout: float) -> dict[str, Any]:
    """Ask the server for a router again and bring it to the kernel, before all others.

    :param timeout: seconds for all of it.
    :returns: ``action``, ``result``, ``error``, ``timings``, ``operations`` (how many) and ``log`` (lines).
    :raises L3AgentError: nothing is done for it now: the router is paused, or the agent drained.
    :raises TransientError: it was not worked off in time; it goes on.
    """
    if router_id in agent.administration.paused:
        raise L3AgentError(f"router {router_id}: paused; `l3-agentctl resume` it first")
    if agent.administration.state != "serving":
        raise L3AgentError("the agent is drained; `l3-agentctl drain --undo` first")
    with _overheard(router_id) as lines:
        outcome = _next_outcome(agent, router_id, timeout)
    return {
        "action": outcome.action,
        "result": outcome.result,
        "error": outcome.error,
        "timings": dict(outcome.timings),
        "operations": outcome.operations,
        "log": lines,
    }


def _next_outcome(agent: L3NATAgent, router_id: str, timeout: float) -> Outcome:
    done, others = Event(), int(agent.queue.is_processing(router_id))

    def heard(outcome: Outcome) -> None:
        nonlocal others
        if outcome.router_id == router_id and not done.ready():
            if others:
                others -= 1  # of work that was in hand before
            else:
                done.send(outcome)

    agent.outcomes.watchers.append(heard)
    try:
        agent.routers_updated(None, [router_id])
        with eventlet.Timeout(timeout, TransientError(f"router {router_id}: not worked off within {timeout:g} s")):
            outcome: Outcome = done.wait()
            return outcome
    finally:
        agent.outcomes.watchers.remove(heard)


class _Collector(logging.Handler):
    def __init__(self, word: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._word = word
        self.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(levelname)s %(message)s", "%H:%M:%S"))

    def emit(self, record: logging.LogRecord) -> None:
        if self._word in record.getMessage():
            self.lines.append(self.format(record))


@contextmanager
def _overheard(word: str) -> Iterator[list[str]]:
    """Collect what this program logs with a word in it, at every level."""
    root, ours = logging.getLogger(), logging.getLogger(_PACKAGE)
    before, usual = ours.level, ours.getEffectiveLevel()
    handlers, collector = list(root.handlers), _Collector(word)

    def as_usual(record: logging.LogRecord) -> bool:
        return record.levelno >= usual

    for handler in handlers:
        handler.addFilter(as_usual)
    ours.addHandler(collector)
    ours.setLevel(logging.DEBUG)
    try:
        yield collector.lines
    finally:
        ours.setLevel(before)
        ours.removeHandler(collector)
        for handler in handlers:
            handler.removeFilter(as_usual)
