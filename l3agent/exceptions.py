# SPDX-License-Identifier: Apache-2.0
"""The error tree, grouped by what the caller does next.

``ConfigError``: an operator corrects the file (exit 78). ``PermissionMissing``: an operator grants it (exit 77).
``TransientError``: retry with back-off. ``RouterError``: wait for the next update of that router.
``InternalError``: a bug of this program; log it, count it, keep the other routers running.
"""

from __future__ import annotations


class L3AgentError(Exception):
    """Base class of all exceptions of this project."""


class ConfigError(L3AgentError):
    """Invalid configuration. Ends the process with status 78 (EX_CONFIG)."""


class UsageError(ConfigError):
    """Invalid command line. Operator commands exit with status 64 (EX_USAGE)."""


class PermissionMissing(L3AgentError):
    """A privilege is missing. Ends the process with status 77 (EX_NOPERM)."""


class TransientError(L3AgentError):
    """A later retry may succeed. Operator commands exit with status 75 (EX_TEMPFAIL)."""


class AgentUnavailable(TransientError):
    """No agent answers on its control socket. Operator commands exit with status 69 (EX_UNAVAILABLE)."""


class InProgress(TransientError):
    """An operation continues after the deadline of its caller."""


class AlreadyRunning(TransientError):
    """Another process already has this role. Ends the process with status 75 (EX_TEMPFAIL)."""


class ServerUnavailable(TransientError):
    """The server did not answer before the deadline, or the broker is unreachable."""


class InvalidAnswer(TransientError):
    """An answer of the server does not have the form that its method defines.

    :param method: name of the method.
    :param value: the answer.
    :param expected: the form of the answer.
    """

    def __init__(self, method: str, value: object, expected: str) -> None:
        super().__init__(f"{method}: the server answered {_shown(value)}, expected {expected}")


class DataplaneUnavailable(TransientError):
    """No connection to the data-plane process, or no answer before the deadline."""


class DataplaneRejected(DataplaneUnavailable):
    """The data-plane process speaks another protocol number than this agent."""


class ApplyError(TransientError):
    """The kernel rejected an operation. The message contains the operation and the error of the kernel."""


class ProgramError(TransientError):
    """A supervised program cannot be started, changed or stopped. The message contains the reason."""


class RouterError(L3AgentError):
    """A router cannot be served; only a new update can change that."""


class InvalidRouter(RouterError):
    """A payload, or a part of it, is invalid.

    :param path: position in the payload, as in ``_interfaces[1].fixed_ips[0].ip_address``.
    :param value: the invalid value.
    :param reason: the expected form.
    """

    def __init__(self, path: str, value: object, reason: str) -> None:
        self.path = path
        self.value = value
        self.reason = reason
        super().__init__(f"{path}: {self.shown}: {reason}")

    @property
    def shown(self) -> str:
        """The value as text of bounded length, for a log."""
        return _shown(self.value)


class InvalidState(RouterError):
    """The data plane received a state with a value that no valid agent sends.

    :param where: position of the value.
    :param value: the invalid value.
    :param reason: the expected form.
    """

    def __init__(self, where: str, value: object, reason: str) -> None:
        super().__init__(f"{where}: {_shown(value)}: {reason}")


class Unroutable(InvalidRouter):
    """A valid address or network that is not routable; servers accept some from their tenants."""


class RouterNotCompatible(RouterError):
    """A router of a type that this agent does not serve; its namespace is removed if this agent has created it."""


class RouterNotWanted(RouterError):
    """A router that must not exist on this node now, such as a disabled one; its namespace is removed."""


class InternalError(L3AgentError):
    """An internal invariant is violated."""


class AgentNotFoundByTypeHost(L3AgentError):
    """An agent without a state report called the standalone server. The name is part of the RPC interface."""


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 120 else shown[:117] + "..."
