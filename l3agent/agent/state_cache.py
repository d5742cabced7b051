# SPDX-License-Identifier: Apache-2.0
"""State cache: the last payloads of all routers of this node in a file, for a start without a server.

JSON objects, one per line: a header with the format and the host, then the payloads, unchanged. A damaged line loses
one router.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Container, Iterator, Mapping
from contextlib import suppress
from typing import Any

import eventlet
from eventlet.event import Event
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

_FORMAT = 1
#: Lines between two yields to other greenthreads.
_LINES_AT_ONCE = 50


class StateCache:
    """The file and its pending contents.

    :param path: of the file; it is replaced atomically.
    :param host: name of this node; the file of another node is ignored.
    :param interval: minimum seconds between two writes; 0: the file is neither read nor written.
    """

    def __init__(self, path: str, host: str, *, interval: float) -> None:
        self._path = path
        self._header = {"l3agent_routers": _FORMAT, "host": host}
        self._interval = interval
        #: Compressed: a payload has ten kilobytes, compressed one.
        self._lines: dict[str, bytes] = {}
        self._changed = Event()
        self._failure: str | None = None

    def store(self, router_id: str, payload: Mapping[str, Any]) -> None:
        """Store the payload of a router."""
        if self._interval:
            self._change(router_id, json.dumps(payload, separators=(",", ":")))

    def retain_floating_ips(self, router_id: str, named: Container[str]) -> None:
        """Remove all floating IPs but those with the given ids from the payload of a router."""
        if router_id in self._lines:
            payload = json.loads(_decompress(self._lines[router_id]))
            floating_ips = [fip for fip in payload.get("_floatingips") or [] if isinstance(fip, Mapping)]
            kept = [fip for fip in floating_ips if isinstance(fip.get("id"), str) and fip["id"] in named]
            self.store(router_id, payload | {"_floatingips": kept})

    def discard(self, router_id: str) -> None:
        """Discard the payload of a removed router."""
        if router_id in self._lines:
            self._change(router_id, None)

    def _change(self, router_id: str, line: str | None) -> None:
        known = self._lines.get(router_id)
        if line == (None if known is None else _decompress(known)):
            return
        if line is None:
            del self._lines[router_id]
        else:
            self._lines[router_id] = _compress(line)
        self._mark_changed()

    def _mark_changed(self) -> None:
        if not self._changed.ready():
            self._changed.send()

    def load(self) -> Iterator[dict[str, Any]]:
        """Return the payloads of the file; log and ignore a file with another header."""
        if not self._interval:
            return
        try:
            with open(self._path, "rb") as lines:
                header = json.loads(lines.readline())
                if header != self._header:
                    raise ValueError(f"written as {header}, expected {self._header}")
                for number, line in enumerate(lines, start=2):
                    if number % _LINES_AT_ONCE == 0:
                        eventlet.sleep(0)
                    yield from self._parse_line(number, line)
        except FileNotFoundError:
            LOG.debug("State cache: %s does not exist", self._path)
        except (OSError, ValueError) as exc:
            LOG.warning("State cache: %s is ignored: %s", self._path, exc)

    def _parse_line(self, number: int, line: bytes) -> Iterator[dict[str, Any]]:
        try:
            payload = json.loads(line)
            router_id = payload["id"]
        except (ValueError, KeyError, TypeError) as exc:
            LOG.warning("State cache: %s, line %d is ignored: %s", self._path, number, exc)
            return
        self._lines.setdefault(router_id, _compress(line.rstrip(b"\n").decode()))
        yield payload

    def run(self) -> None:
        """Write the file after each change, at most once per interval, without end."""
        while True:
            self._changed.wait()
            eventlet.sleep(self._interval)
            self.write()

    def write(self) -> None:
        """Write the file if its contents have changed; log a failure once, and retry."""
        if not self._changed.ready():
            return
        self._changed = Event()
        fresh = f"{self._path}.new"
        failure: str | None = "killed"
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(json.dumps(self._header) + "\n")
                for number, line in enumerate(list(self._lines.values())):
                    if number % _LINES_AT_ONCE == 0:
                        eventlet.sleep(0)
                    file.write(_decompress(line) + "\n")
            os.replace(fresh, self._path)
            failure = None
        except OSError as exc:
            failure = str(exc)
            if failure != self._failure:
                LOG.warning("State cache: %s: %s", self._path, exc)
        finally:
            # It yields between lines, and its greenthread is killed at a stop.
            if failure is not None:
                self._mark_changed()
                with suppress(OSError):
                    os.unlink(fresh)
            self._failure = failure


def _compress(line: str) -> bytes:
    """Return a line compressed at a level that takes 0.1 ms per update."""
    return zlib.compress(line.encode(), level=1)


def _decompress(line: bytes) -> str:
    """Return a line decompressed, in a quarter of the time of compressing it."""
    return zlib.decompress(line).decode()
