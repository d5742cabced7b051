# SPDX-License-Identifier: Apache-2.0
"""The first request of a connection: ``hello``, by which both sides compare their protocol numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import eventlet
import msgpack

from l3agent import __version__
from l3agent.agent.dataplane_connection import INVALID_FRAME, DataplaneConnection
from l3agent.exceptions import DataplaneRejected, DataplaneUnavailable
from l3agent.model.protocol import PROTOCOL

_HELLO_S = 5.0
#: Request id of ``hello``; other requests have greater ids.
_HELLO_ID = 0


@dataclass(frozen=True, slots=True)
class Hello:
    """The answer of a data-plane process to ``hello``.

    :param version: of its release.
    :param pid: process id, in its own namespace of processes.
    :param protocol: its protocol number; 0 before release 0.2.0, which has none.
    :param process: identity of the process; empty in the first releases.
    """

    version: str
    pid: int
    protocol: int
    process: str


def request_hello(connection: DataplaneConnection, path: str) -> Hello:
    """Send ``hello`` and return the answer.

    :param path: of the socket, for errors.
    :raises DataplaneUnavailable: no answer in time, an error, or an invalid answer.
    """
    with eventlet.Timeout(_HELLO_S, _unavailable(path, "no answer to hello")):
        try:
            connection.send(msgpack.packb((_HELLO_ID, "hello", {})))
            _, error, answer = _first_frame(connection)
            if not error:
                return _parse_hello(answer)
            reason = str(error["message"])
        except (OSError, *INVALID_FRAME) as exc:
            raise _unavailable(path, f"handshake failed: {exc}") from exc
    raise _unavailable(path, reason)


def require_protocol(hello: Hello, path: str) -> None:
    """Check that a data plane speaks the protocol of this agent; its version does not matter.

    :param path: of the socket, for the error.
    :raises DataplaneRejected: it speaks another one. The message names the older process, which must be restarted.
    """
    if hello.protocol != PROTOCOL:
        older = "l3-dataplane" if hello.protocol < PROTOCOL else "l3-agent"
        raise DataplaneRejected(
            f"restart {older}: l3-dataplane {hello.version} at {path} speaks protocol {hello.protocol}, "
            f"l3-agent {__version__} speaks {PROTOCOL}; the kernel state stays"
        )


def _first_frame(connection: DataplaneConnection) -> Any:
    for frame in connection.frames():
        return frame
    raise ConnectionResetError("the peer closed the connection")


def _parse_hello(answer: Any) -> Hello:
    hello = Hello(answer["version"], answer["pid"], answer.get("protocol", 0), answer.get("process", ""))
    if not isinstance(hello.protocol, int):
        raise TypeError(f"protocol: {hello.protocol!r}: expected a number")
    return hello


def _unavailable(path: str, reason: str) -> DataplaneUnavailable:
    return DataplaneUnavailable(f"l3-dataplane at {path}: {reason}")
