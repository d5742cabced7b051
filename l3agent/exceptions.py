# SPDX-License-Identifier: Apache-2.0
"""The error tree, grouped by what the caller does next.

``ConfigError``: an operator mends the file (exit 78). ``PermissionMissing``: an operator grants it (exit 77).
``TransientError``: try again later, with backoff. ``RouterError``: wait for the next update of that router.
``InternalError``: our bug; log it, count it, keep the others running.
"""

from __future__ import annotations


class L3AgentError(Exception):
    """Root of everything this project raises on purpose."""


class ConfigError(L3AgentError):
    """The configuration is wrong; an operator must change it. Ends the process with status 78 (EX_CONFIG)."""


class UsageError(ConfigError):
    """The configuration is wrong already on the command line; a command for people ends with status 64 (EX_USAGE)."""


class PermissionMissing(L3AgentError):
    """A privilege is missing that an operator must grant. Ends the process with status 77 (EX_NOPERM)."""


class TransientError(L3AgentError):
    """The same thing tried later may work; a command for people ends with status 75 (EX_TEMPFAIL)."""


class AgentUnavailable(TransientError):
    """No agent answers on its control socket; a command ends with status 69 (EX_UNAVAILABLE)."""


class InProgress(TransientError):
    """It was begun and goes on, but was not done in the time that the caller gave it."""


class AlreadyRunning(TransientError):
    """Another process does this work already. Ends the process with status 75 (EX_TEMPFAIL)."""


class ServerUnavailable(TransientError):
    """The server did not answer in time, or the broker could not be reached."""


class InvalidAnswer(TransientError):
    """An answer of the server does not have the form that its method promises.

    :param method: name of the method.
    :param value: the answer.
    :param expected: the form of the answer.
    """

    def __init__(self, method: str, value: object, expected: str) -> None:
        super().__init__(f"{method}: the server answered {_shown(value)}, expected {expected}")


class DataplaneUnavailable(TransientError):
    """The data-plane process is gone, or did not answer within the deadline."""


class DataplaneRejected(DataplaneUnavailable):
    """A data-plane process answers but cannot serve this agent: its version differs."""


class ApplyError(TransientError):
    """The kernel refused an operation. The message names the operation and the kernel's reason."""


class RouterError(L3AgentError):
    """Trying again without a new update cannot help."""


class InvalidRouter(RouterError):
    """A payload, or a part of it, breaks the contract.

    :param path: where in the payload, as in ``_interfaces[1].fixed_ips[0].ip_address``.
    :param value: what was found there.
    :param reason: what was expected instead.
    """

    def __init__(self, path: str, value: object, reason: str) -> None:
        self.path = path
        self.value = value
        self.reason = reason
        super().__init__(f"{path}: {self.shown}: {reason}")

    @property
    def shown(self) -> str:
        """Return the value as a text of bounded length that can be written to a log."""
        return _shown(self.value)


class InvalidState(RouterError):
    """A state that reached the data plane has a value that no state of ours can have; its agent is not sound.

    :param where: whose value, and which.
    :param value: what was found there.
    :param reason: what was expected instead.
    """

    def __init__(self, where: str, value: object, reason: str) -> None:
        super().__init__(f"{where}: {_shown(value)}: {reason}")


class Unroutable(InvalidRouter):
    """An address or network in good form that no packet can be routed to; servers take some from their tenants."""


class RouterNotCompatible(RouterError):
    """A router of a kind that this agent does not serve; what it made of it is removed, what others made stays."""


class RouterNotWanted(RouterError):
    """A router that should not be here now, such as one that is down; what exists of it is removed."""


class InternalError(L3AgentError):
    """Something happened that the code holds impossible."""


class AgentNotFoundByTypeHost(L3AgentError):
    """An agent that never reported asks the standalone server for routers. Agents know the error by this name."""


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 120 else shown[:117] + "..."
