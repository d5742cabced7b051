# SPDX-License-Identifier: Apache-2.0
"""What became of each update: one line in the log with its times and its request id, and word to those who count."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

#: Failures kept for people, the newest last.
_ERRORS_KEPT = 50

#: ``retry``: it is tried again after a while; ``refused``: by us, until the server says something else; ``skipped``:
#: an answer that was older than what is known.
Result = Literal["ok", "retry", "refused", "skipped"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one update of one router.

    :param action: what was to be done: ``update``, ``delete``, ``missing`` or ``reapply``.
    :param timings: seconds by phase: wait, fetch, observe, plan, apply; those that were reached.
    :param operations: how many the kernel needed.
    :param unasked: whether the router was to be as it had been before, so that any operation made good for a drift.
    :param context: of the request that asked for it last; None when nobody did, as in a full sync.
    """

    router_id: str
    action: str
    result: Result
    timings: Mapping[str, float] = field(default_factory=dict)
    operations: int = 0
    unasked: bool = False
    name: str = ""
    error: str | None = None
    context: Any = None

    @property
    def seconds(self) -> float:
        """Return the time from the notice to the end."""
        return sum(self.timings.values())


class Outcomes:
    """Hears of each outcome, and tells others."""

    def __init__(self) -> None:
        #: Called with each outcome; must not wait.
        self.watchers: list[Callable[[Outcome], object]] = []
        #: The last failures, the newest last: ready for JSON. ``at`` is in seconds since the epoch.
        self.errors: deque[dict[str, Any]] = deque(maxlen=_ERRORS_KEPT)

    def tell(self, outcome: Outcome) -> None:
        """Log an outcome, remember it if it is a failure, and pass it on."""
        if outcome.result == "ok":
            _log(outcome)
        if outcome.error is not None:
            self.errors.append(_failure(outcome))
        for watcher in self.watchers:
            watcher(outcome)


def _log(outcome: Outcome) -> None:
    """Write the one line of a processed update; JSON has the same as fields, below ``extra`` and ``context``.

    An update without a request and without operations, as in an idle full sync, is logged at DEBUG.
    """
    is_idle = outcome.context is None and not outcome.operations and outcome.action not in _DONE
    timings = {phase: round(seconds, 6) for phase, seconds in outcome.timings.items()}
    LOG.log(
        logging.DEBUG if is_idle else logging.INFO,
        "router %s %s: %d operations, %s",
        outcome.router_id,
        _DONE.get(outcome.action, "updated"),
        outcome.operations,
        ", ".join(f"{phase} {seconds:.4f} s" for phase, seconds in timings.items()),
        context=outcome.context,
        router_id=outcome.router_id,
        update=outcome.action,
        operations=outcome.operations,
        timings=timings,
    )


_DONE = {"delete": "removed", "missing": "removed"}


def _failure(outcome: Outcome) -> dict[str, Any]:
    return {
        "at": time.time(),
        "router": outcome.router_id,
        "name": outcome.name,
        "result": outcome.result,
        "error": outcome.error,
        "request_id": getattr(outcome.context, "request_id", None),
    }
