# SPDX-License-Identifier: Apache-2.0
"""Blocking client of the agent's control socket, for l3-agentctl and the demo. It imports no eventlet."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from l3agent.exceptions import (
    AgentUnavailable,
    ConfigError,
    InProgress,
    InternalError,
    L3AgentError,
    PermissionMissing,
    TransientError,
)

#: File name of the control socket in the agent's ``state_path``.
CONTROL_SOCKET = "l3-agent.sock"

#: Kinds of errors in answers, the most specific first.
_KINDS: tuple[type[L3AgentError], ...] = (
    ConfigError,
    PermissionMissing,
    InProgress,
    TransientError,
    InternalError,
    L3AgentError,
)


def error_answer(error: L3AgentError) -> dict[str, str]:
    """Return the answer that reports an error."""
    kind = next(kind for kind in _KINDS if isinstance(error, kind))
    return {"error": str(error), "kind": kind.__name__}


def call_agent(path: str, request: Mapping[str, Any], timeout: float = 10.0) -> dict[str, Any]:
    """Send one request to the agent that listens on ``path`` and return its answer.

    :param timeout: seconds for each step: to connect, to send, and for each part of the answer.
    :raises AgentUnavailable: no agent listens there, or no answer arrived in time.
    :raises PermissionMissing: the socket belongs to another user.
    :raises L3AgentError: the agent refused the request; the class is that of the error in the agent.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            answer: dict[str, Any] = json.loads(connection.makefile("rb").readline())
    except PermissionError as exc:
        raise PermissionMissing(f"{path}: {exc.strerror}; run this as the user of l3-agent, or as root") from exc
    except (FileNotFoundError, ConnectionRefusedError) as exc:
        raise AgentUnavailable(f"no l3-agent listens on {path}; is it running, with this state_path?") from exc
    except OSError as exc:
        raise AgentUnavailable(f"{path}: the agent did not answer: {exc}") from exc
    except ValueError as exc:
        raise AgentUnavailable(f"{path}: the agent ended before it answered") from exc
    if "error" in answer:
        known = {kind.__name__: kind for kind in _KINDS}
        raise known.get(answer.get("kind", ""), L3AgentError)(answer["error"])
    return answer
