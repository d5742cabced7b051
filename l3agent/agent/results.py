# SPDX-License-Identifier: Apache-2.0
"""Results of router updates: one log line each, and notification of observers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from oslo_log import log as logging

LOG = logging.getLogger(__name__)

#: Failures kept for operators.
_ERRORS_KEPT = 50

#: ``retry``: failed, and retried after a back-off; ``rejected``: invalid, and not retried before the next payload;
#: ``skipped``: superseded, because the answer was stale or a removal was held.
ResultStatus = Literal["ok", "retry", "rejected", "skipped"]


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """The result of one update of one router.

    :param action: ``update``, ``delete``, ``missing`` or ``reapply``.
    :param timings: seconds by phase (wait, fetch, observe, plan, apply), for the phases that were reached.
    :param operations: number of kernel operations.
    :param drift_repair: True if the desired state did not change, so that any operation repaired drift.
    :param context: of the latest request for this update; None without a request, as in a full sync.
    """

    router_id: str
    action: str
    status: ResultStatus
    timings: Mapping[str, float] = field(default_factory=dict)
    operations: int = 0
    drift_repair: bool = False
    name: str = ""
    error: str | None = None
    context: Any = None

    @property
    def seconds(self) -> float:
        """Return the seconds from the notification to the result."""
        return sum(self.timings.values())


class UpdateResults:
    """Logs each result, keeps the last failures and notifies the observers."""

    def __init__(self) -> None:
        #: Called with each result; must not wait.
        self.observers: list[Callable[[UpdateResult], object]] = []
        #: The last failures, newest last, as JSON objects. ``at`` is in seconds since the epoch.
        self.errors: deque[dict[str, Any]] = deque(maxlen=_ERRORS_KEPT)

    def publish(self, result: UpdateResult) -> None:
        """Log a result, keep it if it is a failure, and notify the observers."""
        if result.status == "ok":
            _log(result)
        if result.error is not None:
            self.errors.append(_failure(result))
        for observer in self.observers:
            observer(result)


def _log(result: UpdateResult) -> None:
    """Log one line per processed update; JSON logs have the same fields below ``extra`` and ``context``.

    An update without a request and without operations, as in an idle full sync, is logged at DEBUG.
    """
    is_idle = result.context is None and not result.operations and result.action not in _DONE
    timings = {phase: round(seconds, 6) for phase, seconds in result.timings.items()}
    LOG.log(
        logging.DEBUG if is_idle else logging.INFO,
        "router %s %s: %d operations, %s",
        result.router_id,
        _DONE.get(result.action, "updated"),
        result.operations,
        ", ".join(f"{phase} {seconds:.4f} s" for phase, seconds in timings.items()),
        context=result.context,
        router_id=result.router_id,
        update=result.action,
        operations=result.operations,
        timings=timings,
    )


_DONE = {"delete": "removed", "missing": "removed"}


def _failure(result: UpdateResult) -> dict[str, Any]:
    return {
        "at": time.time(),
        "router": result.router_id,
        "name": result.name,
        "result": result.status,
        "error": result.error,
        "request_id": getattr(result.context, "request_id", None),
    }
