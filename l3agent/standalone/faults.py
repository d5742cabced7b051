# SPDX-License-Identifier: Apache-2.0
"""A server that misbehaves on purpose, so that an operator can see what agents make of it before a real one does."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eventlet

from l3agent.exceptions import L3AgentError


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong.

    :param answer_delay: seconds that each answer takes longer.
    :param lose_casts: share of the messages to agents that are never sent, 0 to 1.
    :param fail_calls: share of the calls of agents that fail, 0 to 1.
    """

    answer_delay: float = 0.0
    lose_casts: float = 0.0
    fail_calls: float = 0.0

    def spoiled(self, endpoint: Any) -> Any:
        """Return an endpoint that answers late or fails, or the same where nothing is to go wrong with calls."""
        return _Spoiled(endpoint, self) if self.answer_delay or self.fail_calls else endpoint

    def loses(self) -> bool:
        """Tell whether the next message is lost."""
        return random.random() < self.lose_casts

    def meet(self, method: str) -> None:
        """Wait, and fail, as a call shall."""
        eventlet.sleep(self.answer_delay)
        if random.random() < self.fail_calls:
            raise FailedOnPurpose(f"{method}: failed on purpose (--fail-calls)")


class FailedOnPurpose(L3AgentError):
    """What a call ends with that was to fail."""


class _Spoiled:
    """Stands before an endpoint."""

    def __init__(self, endpoint: Any, faults: Faults) -> None:
        self.target = endpoint.target
        self._endpoint = endpoint
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._endpoint, name)

        def spoiled(*arguments: Any, **named: Any) -> Any:
            self._faults.meet(name)
            return method(*arguments, **named)

        return spoiled


#: Nothing goes wrong.
NONE = Faults()
