# SPDX-License-Identifier: Apache-2.0
"""Requests in flight to the data-plane process, multiplexed by id."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
from eventlet.event import Event
from oslo_log import log as logging

from l3agent.exceptions import ApplyError, DataplaneUnavailable
from l3agent.model.wire import FRAME_BYTES

LOG = logging.getLogger(__name__)


class PendingRequests:
    """The requests that wait for their answers.

    Each leaves the table with its answer, with the connection, or when its greenthread ends the wait.
    """

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._waiting: dict[int, Event] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def exchange(self, send: Callable[[bytes], None], operation: str, arguments: Mapping[str, Any]) -> Any:
        """Send a request and wait for its result; the caller sets the deadline.

        :param send: sends a frame.
        :raises DataplaneUnavailable: the connection is lost. Errors of ``send`` are raised unchanged.
        :raises ApplyError: the request is too long, or the operation failed.
        """
        request_id = next(self._ids)
        answer = self._waiting[request_id] = Event()
        try:
            frame = msgpack.packb((request_id, operation, arguments))
            if len(frame) > FRAME_BYTES:
                raise ApplyError(
                    f"l3-dataplane accepts at most {FRAME_BYTES} bytes per request; {operation} has {len(frame)}"
                )
            send(frame)
            return answer.wait()
        finally:
            self._waiting.pop(request_id, None)

    def resolve(self, frame: Any) -> None:
        """Wake the greenthread that waits for an answer.

        :param frame: request id, error (None or ``type`` and ``message``), result.
        :raises Exception: ValueError, TypeError or KeyError if the frame is not an answer.
        """
        request_id, error, result = frame
        answer = self._waiting.pop(request_id, None)
        if answer is None:
            LOG.debug("Answer %d arrived after its deadline", request_id)
        elif error:
            answer.send(exc=ApplyError(f"l3-dataplane: {error['type']}: {error['message']}"))
        else:
            answer.send(result)

    def fail_all(self, reason: str) -> None:
        """Fail all requests in flight: their connection is lost."""
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            answer.send(exc=DataplaneUnavailable(f"the connection to l3-dataplane is lost: {reason}"))
