# SPDX-License-Identifier: Apache-2.0
"""Samples of the queue and of router updates over the last ten minutes, for the status page."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Any

from l3agent.agent.results import UpdateResult
from l3agent.agent.view import AgentView
from l3agent.service import ThreadGroup

#: Seconds between two samples, and number of samples kept: ten minutes.
INTERVAL_S, SAMPLES = 2.0, 300


class History:
    """A service that samples an agent periodically."""

    def __init__(self, agent: AgentView) -> None:
        self.tg = ThreadGroup()
        self._agent = agent
        self._samples: deque[dict[str, float]] = deque(maxlen=SAMPLES)
        self._seconds: list[float] = []
        self._failed = 0
        agent.result_observers.append(self._record_update)

    def start(self) -> None:
        """Start the timer."""
        self.tg.add_timer(INTERVAL_S, self.record_sample)

    def stop(self) -> None:
        """Stop the timer."""
        self.tg.stop()

    def wait(self) -> None:
        """Wait until a sample in progress is recorded."""
        self.tg.wait()

    def reset(self) -> None:
        """Do nothing: no option changes on reload."""

    def record_sample(self) -> None:
        """Record the queue counts, and the updates since the last sample. Times are in seconds."""
        seconds, self._seconds = self._seconds, []
        failed, self._failed = self._failed, 0
        self._samples.append(
            {
                "at": round(time.time(), 1),
                **self._agent.queue.counts(),
                "done": len(seconds),
                "failed": failed,
                "median": round(statistics.median(seconds), 6) if seconds else 0.0,
                "worst": round(max(seconds, default=0.0), 6),
            }
        )

    def values(self) -> dict[str, Any]:
        """Return the samples and the last failed updates, both in chronological order."""
        return {"interval": INTERVAL_S, "samples": list(self._samples), "errors": self._agent.recent_errors}

    def _record_update(self, result: UpdateResult) -> None:
        if result.status == "ok":
            self._seconds.append(result.seconds)
        elif result.error is not None:
            self._failed += 1
