# SPDX-License-Identifier: Apache-2.0
"""Trace of the messages between a service and its server, without secrets, for replay in tests.

One JSON object per line. The first has the format version and the host. Each of the others has ``at_s`` (seconds since
the start), ``topic``, ``version`` and ``args``. A call of the service has the method as ``call``, and ``result``. Other
messages have the method as ``cast`` and no ``result``; ``out`` is true in casts of the service. A failed message has
``error`` instead of ``result``: the name of the exception that the method raised, or ``unavailable``; the text of an
exception may be confidential.

The context of a message is omitted. Values of keys that match the pattern of secrets are ``***``. Values of the keys in
``redacted`` are replaced, equal ones by equal ones within a file.
"""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from l3agent.rpc.observers import Message

LOG = logging.getLogger(__name__)

_FORMAT = 1
_SECRET = re.compile(r"pass(word|wd)|secret|token|credential|private_key|api_key|auth", re.IGNORECASE)


class RpcTrace:
    """Writes messages to a file; a full disk or the size limit ends the trace, not the service.

    :param path: path of the file, which is truncated and readable only by its owner.
    :param host: name of this node; it is the first host of the file.
    :param limit: maximum size in bytes.
    :param redacted: kind of replacement by key: ``{"name": "who"}`` replaces names by ``who-1``, ``who-2``.
    :raises OSError: the file cannot be created.
    """

    def __init__(self, path: str, host: str, *, limit: int, redacted: Mapping[str, str]) -> None:
        self._path = path
        self._redacted = redacted
        self._remaining = limit
        self._started = time.monotonic()
        self._replacements: dict[tuple[str, str], str] = {}
        # Line-buffered: the last messages before a crash matter most.
        self._file = open(path, "w", buffering=1, opener=_open_for_owner_only)  # noqa: SIM115
        self._write_entry({"l3agent_rpc_trace": _FORMAT, "host": self._replace("host", host)})

    def write(self, message: Message) -> None:
        """Write one message."""
        if self._remaining <= 0:
            return
        entry: dict[str, Any] = {
            "at_s": round(time.monotonic() - self._started, 3),
            "call" if message.kind == "call" else "cast": message.method,
            "topic": message.topic,
            "version": message.version,
            "args": self._redact(message.arguments),
        }
        if message.error is not None:
            entry["error"] = message.error
        elif message.kind == "call":
            entry["result"] = self._redact(message.result)
        if message.kind == "cast":
            entry["out"] = True
        self._write_entry(entry)

    def _write_entry(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, default=str) + "\n"
        self._remaining -= len(line)
        try:
            if self._remaining > 0:
                self._file.write(line)
            else:
                LOG.warning("RPC trace: %s has reached its size limit and ends here", self._path)
        except OSError as exc:
            self._remaining = 0
            LOG.warning("RPC trace: %s ends here: %s", self._path, exc)

    def _redact(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {str(name): self._redact(inner, str(name)) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._redact(inner, key) for inner in value]
        if not isinstance(value, str) or not value:
            return value if not _SECRET.search(key) or value is None else "***"
        if key in self._redacted:
            return self._replace(self._redacted[key], value)
        return "***" if _SECRET.search(key) else value

    def _replace(self, kind: str, value: str) -> str:
        """Return the replacement of a value, which is the same each time."""
        return self._replacements.setdefault((kind, value), f"{kind}-{len(self._replacements) + 1}")


def _open_for_owner_only(path: str, flags: int) -> int:
    """Open a file that only its owner can read, even if an existing file had other permissions."""
    descriptor = os.open(path, flags & ~os.O_TRUNC, 0o600)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
