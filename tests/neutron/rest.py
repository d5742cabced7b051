# SPDX-License-Identifier: Apache-2.0
"""Neutron's REST API, without authentication, over the unix socket of its server: a file crosses namespaces."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.parse
from pathlib import Path
from typing import Any

#: Seconds for one answer; bulk calls on a small machine take their time.
_ANSWER_S = 120


class ApiError(Exception):
    """The server answered with an error; ``status`` is HTTP's."""

    def __init__(self, request: str, status: int, body: str) -> None:
        super().__init__(f"{request}: status {status}: {body}")
        self.status = status


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("neutron", timeout=_ANSWER_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_ANSWER_S)
        self.sock.connect(str(self._path))


class Rest:
    """A client of API version 2.0. Collections are named as in the URL: ``routers``, ``floatingips``."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def list(self, collection: str, **filters: str) -> list[dict[str, Any]]:
        """Return the members of a collection."""
        query = "?" + urllib.parse.urlencode(filters) if filters else ""
        found: list[dict[str, Any]] = self.request("GET", f"{collection}{query}")[_key(collection)]
        return found

    def get(self, collection: str, member_id: str) -> dict[str, Any]:
        """Return a member."""
        return self._one(collection, self.request("GET", f"{collection}/{member_id}"))

    def create(self, collection: str, **attributes: Any) -> dict[str, Any]:
        """Make a member."""
        body = {_singular(collection): attributes}
        return self._one(collection, self.request("POST", collection, body))

    def create_many(self, collection: str, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Make many members in one call."""
        made: list[dict[str, Any]] = self.request("POST", collection, {collection: members})[collection]
        return made

    def update(self, collection: str, member_id: str, **attributes: Any) -> dict[str, Any]:
        """Change a member."""
        body = {_singular(collection): attributes}
        return self._one(collection, self.request("PUT", f"{collection}/{member_id}", body))

    def delete(self, collection: str, member_id: str) -> None:
        """Delete a member."""
        self.request("DELETE", f"{collection}/{member_id}")

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request and return the decoded answer, None when there is none.

        :raises ApiError: the status is not 2xx.
        :raises OSError: nobody answers.
        """
        connection = _UnixConnection(self._socket_path)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, f"/v2.0/{path}", content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        if response.status // 100 != 2:
            raise ApiError(f"{method} {path}", response.status, text)
        return json.loads(text) if text else None

    def _one(self, collection: str, answer: Any) -> dict[str, Any]:
        member: dict[str, Any] = answer[_singular(collection)]
        return member


def _key(path: str) -> str:
    """Name what is in the answer: the last word, also of ``agents/<id>/l3-routers`` (answered as ``routers``)."""
    return path.rpartition("/")[2].removeprefix("l3-")


def _singular(collection: str) -> str:
    return collection.removesuffix("s")
