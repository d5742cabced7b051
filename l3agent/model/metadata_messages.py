# SPDX-License-Identifier: Apache-2.0
"""Messages between ``l3-metadata`` and its parent, over a socketpair of type SOCK_SEQPACKET (unix(7)).

One packet is one message: a JSON object of at most :data:`MAX_PACKET` bytes. A request is ``{"id", "op", ...fields}``,
its answer ``{"id", "error", "result"}``; answers have the order of the requests. Only the packet of ``add_router``
carries descriptors (SCM_RIGHTS): 1 to :data:`MAX_SOCKETS` listening sockets. l3agent/metadata/README.md describes what
each operation does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeGuard

from l3agent.exceptions import InvalidState
from l3agent.model.validators import is_id

#: Bytes. A packet has to fit into the send buffer of a unix socket: 208 KiB by default (net.core.wmem_default).
MAX_PACKET = 65536
#: Listening sockets of one router: one dual-stack socket, or one per address family.
MAX_SOCKETS = 2
#: Routers in one answer to ``status``.
STATUS_ROUTERS = 200
#: Bytes, with the terminating NUL (``sun_path`` in unix(7)).
_MAX_PATH = 108
_MAX_CONNECTIONS = 1_000_000
_MAX_S = 86_400


@dataclass(frozen=True, slots=True)
class Configure:
    """Set where requests go, and the limits; effective for new connections.

    :param haproxy_socket: absolute path of the unix socket of haproxy.
    :param connections: most connections of all routers.
    :param router_connections: most connections of one router.
    :param source_connections: most connections of one source address of a router.
    :param idle_timeout: seconds without a byte in either direction until a connection is closed; longer than all
        timeouts of haproxy.
    """

    haproxy_socket: str
    connections: int = 1024
    router_connections: int = 128
    source_connections: int = 32
    idle_timeout: int = 90


@dataclass(frozen=True, slots=True)
class AddRouter:
    """Accept connections from the listening sockets of a router; sockets that it already has are replaced.

    :param router: its id.
    """

    router: str


@dataclass(frozen=True, slots=True)
class RemoveRouter:
    """Close the listening sockets and all connections of a router; succeeds for an unknown router.

    :param router: its id.
    """

    router: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Accept no more connections, and exit when the last one has ended.

    :param timeout: seconds after which the process exits with connections left.
    """

    timeout: int


@dataclass(frozen=True, slots=True)
class QueryStatus:
    """Return counters.

    :param after: return routers with greater ids only: the ``next`` of the previous answer.
    """

    after: str = ""


Request = Configure | AddRouter | RemoveRouter | Drain | QueryStatus

_OPERATIONS: Mapping[str, type[Request]] = {
    "configure": Configure,
    "add_router": AddRouter,
    "remove_router": RemoveRouter,
    "drain": Drain,
    "status": QueryStatus,
}
_NAMES = {kind: name for name, kind in _OPERATIONS.items()}


@dataclass(frozen=True, slots=True)
class ControlAnswer:
    """The answer to a request.

    :param number: id of the request; None if the request had no valid one.
    :param error: why the request failed, or None.
    :param result: counters for ``status``, otherwise None.
    """

    number: int | None
    error: str | None = None
    result: Any = None


def encode_request(number: int, request: Request) -> bytes:
    """Return the packet of a request."""
    values = {field.name: getattr(request, field.name) for field in fields(request)}
    return _encode({"id": number, "op": _NAMES[type(request)], **values})


def decode_number(packet: bytes) -> int | None:
    """Return the id of a request, or None if the packet has no valid one."""
    try:
        number = _decode(packet).get("id")
    except InvalidState:
        return None
    return number if _is_int(number) and 0 <= number < 1 << 63 else None


def decode_request(packet: bytes) -> Request:
    """Return the request of a packet.

    :raises InvalidState: it is not a request, or a value is invalid.
    """
    message = _decode(packet)
    if decode_number(packet) is None:
        raise InvalidState("id", message.get("id"), "expected an integer of 0 or more")
    operation = message.get("op")
    kind = _OPERATIONS.get(operation) if isinstance(operation, str) else None
    if kind is None:
        raise InvalidState("op", operation, f"expected one of {', '.join(_OPERATIONS)}")
    names = [field.name for field in fields(kind)]
    if unknown := message.keys() - {"id", "op", *names}:
        raise InvalidState(min(unknown), message[min(unknown)], f"{operation} has no such field")
    try:
        request = kind(**{name: message[name] for name in names if name in message})
    except TypeError:
        missing = next(name for name in names if name not in message)
        raise InvalidState(missing, None, f"{operation} needs this field") from None
    _check(request)
    return request


def encode_answer(answer: ControlAnswer) -> bytes:
    """Return the packet of an answer."""
    return _encode({"id": answer.number, "error": answer.error, "result": answer.result})


def decode_answer(packet: bytes) -> ControlAnswer:
    """Return the answer of a packet.

    :raises InvalidState: it is not an answer.
    """
    message = _decode(packet)
    number, error = message.get("id"), message.get("error")
    if not (number is None or _is_int(number)):
        raise InvalidState("id", number, "expected an integer or null")
    if not (error is None or isinstance(error, str)):
        raise InvalidState("error", error, "expected a text or null")
    return ControlAnswer(number, error, message.get("result"))


# ---- private ---------------------------------------------------------------------------------------------------------


def _encode(message: Mapping[str, Any]) -> bytes:
    packet = json.dumps(message, separators=(",", ":")).encode()
    if len(packet) > MAX_PACKET:
        raise ValueError(f"a packet of {len(packet)} bytes, at most {MAX_PACKET} are allowed")
    return packet


def _decode(packet: bytes) -> dict[str, Any]:
    try:
        message = json.loads(packet)
    except (ValueError, RecursionError):
        raise InvalidState("packet", packet, "expected JSON") from None
    if not isinstance(message, dict):
        raise InvalidState("packet", message, "expected a JSON object")
    return message


def _check(request: Request) -> None:
    """Check the values of a request.

    :raises InvalidState: one is invalid.
    """
    match request:
        case Configure():
            _check_path("haproxy_socket", request.haproxy_socket)
            for name in ("connections", "router_connections", "source_connections"):
                _check_range(name, getattr(request, name), 1, _MAX_CONNECTIONS)
            _check_range("idle_timeout", request.idle_timeout, 1, _MAX_S)
        case AddRouter() | RemoveRouter():
            if not (isinstance(request.router, str) and is_id(request.router)):
                raise InvalidState("router", request.router, "expected the id of a router")
        case Drain():
            _check_range("timeout", request.timeout, 0, _MAX_S)
        case QueryStatus():
            if not (isinstance(request.after, str) and (request.after == "" or is_id(request.after))):
                raise InvalidState("after", request.after, "expected the id of a router, or an empty text")


def _check_path(name: str, value: object) -> None:
    if not (isinstance(value, str) and value.startswith("/") and value.isprintable()):
        raise InvalidState(name, value, "expected an absolute path")
    if len(value.encode()) >= _MAX_PATH:
        raise InvalidState(name, value, f"longer than {_MAX_PATH - 1} bytes")


def _check_range(name: str, value: object, least: int, most: int) -> None:
    if not _is_int(value) or not least <= value <= most:
        raise InvalidState(name, value, f"expected an integer from {least} to {most}")


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
