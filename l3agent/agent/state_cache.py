# SPDX-License-Identifier: Apache-2.0
"""The routers this node had last, kept in a file: an agent that finds no server still knows what it serves.

One JSON object a line: first what wrote it and for whom, then a payload each, as the server sent it. A line that is
damaged costs one router.
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
#: Lines between two chances for other greenthreads.
_LINES_AT_ONCE = 50


class StateCache:
    """The file, and what shall be in it.

    :param path: of the file; it is replaced as a whole.
    :param host: name of this node; the file of another one is ignored.
    :param interval: seconds between two writes at least; 0: the file is neither read nor written.
    """

    def __init__(self, path: str, host: str, *, interval: float) -> None:
        self._path = path
        self._header = {"l3agent_routers": _FORMAT, "host": host}
        self._interval = interval
        #: Packed: a payload has ten kilobytes, which are one then.
        self._lines: dict[str, bytes] = {}
        self._changed = Event()
        self._failure: str | None = None

    def store(self, router_id: str, payload: Mapping[str, Any]) -> None:
        """Keep the payload of a router."""
        if self._interval:
            self._change(router_id, json.dumps(payload, separators=(",", ":")))

    def retain_floating_ips(self, router_id: str, named: Container[str]) -> None:
        """Keep in the payload of a router only the floating IPs with these ids: it has lost the others."""
        if router_id in self._lines:
            payload = json.loads(_decompress(self._lines[router_id]))
            floating_ips = [fip for fip in payload.get("_floatingips") or [] if isinstance(fip, Mapping)]
            kept = [fip for fip in floating_ips if isinstance(fip.get("id"), str) and fip["id"] in named]
            self.store(router_id, payload | {"_floatingips": kept})

    def discard(self, router_id: str) -> None:
        """Keep nothing of a router that is no longer here."""
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
        """Return the payloads of the file, as they were; a file that is none of ours is said and ignored."""
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
            LOG.debug("No routers are known from before: %s does not exist", self._path)
        except (OSError, ValueError) as exc:
            LOG.warning("Last known routers: %s is ignored: %s", self._path, exc)

    def _parse_line(self, number: int, line: bytes) -> Iterator[dict[str, Any]]:
        try:
            payload = json.loads(line)
            router_id = payload["id"]
        except (ValueError, KeyError, TypeError) as exc:
            LOG.warning("Last known routers: %s, line %d is ignored: %s", self._path, number, exc)
            return
        self._lines.setdefault(router_id, _compress(line.rstrip(b"\n").decode()))
        yield payload

    def run(self) -> None:
        """Write the file after each change, at most once an interval, for ever."""
        while True:
            self._changed.wait()
            eventlet.sleep(self._interval)
            self.write()

    def write(self) -> None:
        """Write the file if something changed since it was written last; a failure is said once, and tried again."""
        if not self._changed.ready():
            return
        self._changed = Event()
        fresh = f"{self._path}.new"
        failure: str | None = "it was killed"
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
                LOG.warning("Last known routers: %s: %s", self._path, exc)
        finally:
            # It yields between lines, and its greenthread is killed at a stop.
            if failure is not None:
                self._mark_changed()
                with suppress(OSError):
                    os.unlink(fresh)
            self._failure = failure


def _compress(line: str) -> bytes:
    """Return a line as it is kept, at the speed that costs an update a tenth of a millisecond."""
    return zlib.compress(line.encode(), level=1)


def _decompress(line: bytes) -> str:
    """Return a line as it was; that takes a quarter of the time of packing it."""
    return zlib.decompress(line).decode()
