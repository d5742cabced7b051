# SPDX-License-Identifier: Apache-2.0
"""Fault injection: the server delays answers, fails calls and drops casts, so that operators can rehearse faults."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eventlet

from l3agent.exceptions import L3AgentError


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults to inject.

    :param answer_delay: delay of each answer in seconds.
    :param lose_casts: fraction of the casts to agents that are dropped, 0 to 1.
    :param fail_calls: fraction of the calls of agents that fail, 0 to 1.
    """

    answer_delay: float = 0.0
    lose_casts: float = 0.0
    fail_calls: float = 0.0

    def wrap(self, endpoint: Any) -> Any:
        """Return an endpoint that injects the faults of calls; the given one if there are none."""
        return _FaultyEndpoint(endpoint, self) if self.answer_delay or self.fail_calls else endpoint

    def drops_cast(self) -> bool:
        """Return True if the next cast is to be dropped."""
        return random.random() < self.lose_casts

    def inject(self, method: str) -> None:
        """Delay a call and make it fail, as configured.

        :raises InjectedFault: the call is to fail.
        """
        eventlet.sleep(self.answer_delay)
        if random.random() < self.fail_calls:
            raise InjectedFault(f"{method}: injected fault (--fail-calls)")


class InjectedFault(L3AgentError):
    """The error of a call that fails by fault injection."""


class _FaultyEndpoint:
    """Forwards calls to an endpoint, with faults."""

    def __init__(self, endpoint: Any, faults: Faults) -> None:
        self.target = endpoint.target
        self._endpoint = endpoint
        self._faults = faults

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._endpoint, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._faults.inject(name)
            return method(*arguments, **named)

        return call


#: No faults.
NO_FAULTS = Faults()
