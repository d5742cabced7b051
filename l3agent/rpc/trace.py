# SPDX-License-Identifier: Apache-2.0
"""What an agent and its server say to each other, in a file without secrets: a trace from the field becomes a test.

One JSON object a line. The first says what it is and of which host; then, with ``at_s``, seconds since the start:
``call``, ``topic``, ``version``, ``args`` and ``result`` for what the agent asked, ``cast`` in place of ``call`` and
no ``result`` for what it was told, or told without an answer (``out`` is true then).

Left out is the whole context of a message. Values of keys that sound like secrets are ``***``. Ids of users and
projects, names of hosts, and all that people write in free words are replaced by others, the same ones for the same
ones within a file. Ids of routers, networks and ports, and addresses, stay: without them there is nothing to replay.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from oslo_log import log as logging

from l3agent.rpc.traffic import Message

LOG = logging.getLogger(__name__)

_FORMAT = 1
_SECRET = re.compile(r"pass(word|wd)|secret|token|credential|private_key|api_key|auth", re.IGNORECASE)
_HOSTS = frozenset({"host", "binding:host_id", "gw_port_host", "dest_host", "hostname"})
_PEOPLE = frozenset({"project_id", "tenant_id", "user_id", "project", "tenant", "user"})
_WORDS = frozenset(
    {"name", "description", "dns_name", "dns_domain", "fqdn", "project_name", "tenant_name", "user_name", "tags"}
)


class Trace:
    """Writes messages to a file as they come; a full disk or a full file ends the trace, not the agent.

    :param path: of the file, which is made anew, for its owner's eyes only.
    :param host: name of this node; it is the first host of the file.
    :param limit: bytes after which nothing is written any more.
    :raises OSError: the file cannot be made.
    """

    def __init__(self, path: str, host: str, *, limit: int) -> None:
        self._path = path
        self._left = limit
        self._started = time.monotonic()
        self._others: dict[tuple[str, str], str] = {}
        # Line by line: what was said last before a crash is what matters.
        self._file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", buffering=1)  # noqa: SIM115
        self._write({"l3agent_rpc_trace": _FORMAT, "host": self._other("host", host)})

    def note(self, message: Message) -> None:
        """Write one message."""
        if self._left <= 0:
            return
        entry: dict[str, Any] = {
            "at_s": round(time.monotonic() - self._started, 3),
            "call" if message.kind == "call" else "cast": message.method,
            "topic": message.topic,
            "version": message.version,
            "args": self._clean(message.arguments),
        }
        if message.kind == "call":
            entry["result"] = self._clean(message.result)
        if message.kind == "cast":
            entry["out"] = True
        self._write(entry)

    def _write(self, entry: Mapping[str, Any]) -> None:
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

    def _clean(self, value: Any, key: str = "") -> Any:
        if isinstance(value, Mapping):
            return {str(name): self._clean(inner, str(name)) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._clean(inner, key) for inner in value]
        if not isinstance(value, str) or not value:
            return value if not _SECRET.search(key) or value is None else "***"
        if key in _HOSTS:
            return self._other("host", value)
        if key in _PEOPLE:
            return self._other("owner", value)
        if key in _WORDS:
            return self._other("name", value)
        return "***" if _SECRET.search(key) else value

    def _other(self, kind: str, value: str) -> str:
        """Return what stands for a value, always the same."""
        return self._others.setdefault((kind, value), f"{kind}-{len(self._others) + 1}")
