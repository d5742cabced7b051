# SPDX-License-Identifier: Apache-2.0
"""A server that misbehaves on purpose, so that an operator can see what agents make of it before a real one does."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eventlet


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong.

    :param answer_delay: seconds that each answer takes longer.
    :param lose_casts: share of the messages to agents that are never sent, 0 to 1.
    """

    answer_delay: float = 0.0
    lose_casts: float = 0.0

    def slowed(self, endpoint: Any) -> Any:
        """Return an endpoint that answers late, or the same where nothing is to be slow."""
        return _Slow(endpoint, self.answer_delay) if self.answer_delay else endpoint

    def loses(self) -> bool:
        """Tell whether the next message is lost."""
        return random.random() < self.lose_casts


class _Slow:
    """Stands before an endpoint."""

    def __init__(self, endpoint: Any, seconds: float) -> None:
        self.target = endpoint.target
        self._endpoint = endpoint
        self._seconds = seconds

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._endpoint, name)

        def late(*arguments: Any, **named: Any) -> Any:
            eventlet.sleep(self._seconds)
            return method(*arguments, **named)

        return late


#: Nothing goes wrong.
NONE = Faults()
