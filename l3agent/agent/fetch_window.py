# SPDX-License-Identifier: Apache-2.0
"""Fetch window: the calls to the server in progress, and the updates that finish while they last.

An answer is as old as its call. If an update of a router finishes between the call and its answer, the answer may
precede it and must not revert it::

    call 7 -----------------------------------> answer: data of r1 has number 7
               notification 8 of r1, finished        8 > 7: the data of r1 is stale

Only the updates since the oldest call in progress can matter, so the records are bounded by the calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class FetchWindow:
    """Orders answers of the server after the updates that finished during their calls.

    :param sequences: yields the sequence numbers of the queue (its logical clock).
    """

    def __init__(self, sequences: Iterator[int]) -> None:
        self._sequences = sequences
        self._calls: set[int] = set()
        self._finished: dict[str, int] = {}

    def __len__(self) -> int:
        """Return the number of recorded updates."""
        return len(self._finished)

    @contextmanager
    def track(self) -> Iterator[int]:
        """Yield the sequence number for the data of a call to the server; the block includes the use of its answer."""
        sequence = next(self._sequences)
        self._calls.add(sequence)
        try:
            yield sequence
        finally:
            self._calls.discard(sequence)
            oldest = min(self._calls, default=None)
            self._finished = (
                {} if oldest is None else {key: done for key, done in self._finished.items() if done > oldest}
            )

    def record_finished(self, router_id: str, sequence: int) -> None:
        """Record that an update of a router finished, if a call is in progress."""
        if self._calls:
            self._finished[router_id] = sequence

    def last_finished(self, router_id: str) -> int:
        """Return the sequence number of the last recorded update of a router; 0 if there is none."""
        return self._finished.get(router_id, 0)
