# SPDX-License-Identifier: Apache-2.0
"""What a service and its server say to each other, in a file without secrets: a trace from the field becomes a test.

One JSON object a line. The first says what it is and of which host; then, with ``at_s``, seconds since the start:
``call``, ``topic``, ``version``, ``args`` and ``result`` for what the service asked, ``cast`` in place of ``call`` and
no ``result`` for what it was told, or told without an answer (``out`` is true then). What failed has
``error`` and no ``result``: the name of what the method raised, or ``unavailable``; its words may be private.

Left out is the whole context of a message. Values of keys that sound like secrets are ``***``. What else is nobody's
business is said by the user of the trace, key by key, and is replaced by other words, the same ones for the same ones
within a file.
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
    """Writes messages to a file as they come; a full disk or a full file ends the trace, not the service.

    :param path: of the file, which is emptied first, and is for its owner's eyes only.
    :param host: name of this node; it is the first host of the file.
    :param limit: bytes after which nothing is written any more.
    :param redacted: what the value of a key is replaced by: ``{"name": "who"}`` makes ``who-1``, ``who-2`` of names.
    :raises OSError: the file cannot be made.
    """

    def __init__(self, path: str, host: str, *, limit: int, redacted: Mapping[str, str]) -> None:
        self._path = path
        self._redacted = redacted
        self._left = limit
        self._started = time.monotonic()
        self._replacements: dict[tuple[str, str], str] = {}
        # Line by line: what was said last before a crash is what matters.
        self._file = open(path, "w", buffering=1, opener=_open_for_owner_only)  # noqa: SIM115
        self._write_entry({"l3agent_rpc_trace": _FORMAT, "host": self._replace("host", host)})

    def write(self, message: Message) -> None:
        """Write one message."""
        if self._left <= 0:
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
        self._left -= len(line)
        try:
            if self._left > 0:
                self._file.write(line)
            else:
                LOG.warning("RPC trace: %s is as large as it may be and ends here", self._path)
        except OSError as exc:
            self._left = 0
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
        """Return what stands for a value, always the same."""
        return self._replacements.setdefault((kind, value), f"{kind}-{len(self._replacements) + 1}")


def _open_for_owner_only(path: str, flags: int) -> int:
    """Open a file that others cannot read, not even when it was there before and they could."""
    descriptor = os.open(path, flags & ~os.O_TRUNC, 0o600)
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.fchmod(descriptor, 0o600)
            os.ftruncate(descriptor, 0)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
