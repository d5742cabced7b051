# SPDX-License-Identifier: Apache-2.0
"""An HTTP server as a service: GET only, a bounded number of clients, and a deadline for each.

A client that is slow, silent or greedy loses its oldest connection to the next one (:mod:`l3agent.ops.admission`). On a
loopback address only names of this machine are answered to: a web page elsewhere, opened on this machine under a name
that was made to lead here, gets nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import eventlet
from eventlet import wsgi
from eventlet.green import socket
from oslo_log import log as logging

from l3agent.exceptions import ConfigError
from l3agent.ops.admission import Admission
from l3agent.rpc.deadline import time_limit

LOG = logging.getLogger(__name__)

_CLIENTS = 16
#: Seconds for a whole request, from the connection to the last byte of the answer.
_REQUEST_S = 10.0
#: Bytes of the first line; each header has 8192 at most and all of them 65536, by eventlet.
_LINE_BYTES = 2048
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


@dataclass(frozen=True, slots=True)
class Response:
    """What a page says.

    :param status: code and reason.
    :param headers: in addition to those of every answer, or instead of them.
    """

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: str = "200 OK"
    headers: Mapping[str, str] = field(default_factory=dict)


class _Clients(eventlet.GreenPool):  # type: ignore[misc]
    """The connections being served, as :func:`eventlet.wsgi.server` spawns them.

    The pool has room for connections that were closed to make room and have not ended yet.
    """

    def __init__(self) -> None:
        super().__init__(2 * _CLIENTS)
        self.admission = Admission(_CLIENTS)

    def spawn(self, function: Callable[..., Any], state: list[Any]) -> Any:
        """Serve one connection.

        :param state: address, socket and state of the connection, as eventlet keeps them.
        """
        (host, *_), connection, _ = state
        self.admission.admit(connection, host)
        return super().spawn(self._serve, function, state, connection)

    def _serve(self, function: Callable[..., Any], state: list[Any], connection: Any) -> None:
        try:
            function(state)
        finally:
            self.admission.release(connection)


#: Answers by path.
Pages = Mapping[str, Callable[[], Response]]


class _Protocol(wsgi.HttpProtocol):  # type: ignore[misc]
    """One connection, one request, one deadline."""

    def handle(self) -> None:
        """Serve the connection until it ends or its time is over."""
        try:
            with time_limit(_REQUEST_S):
                super().handle()
        except TimeoutError:
            LOG.debug("HTTP: %s was too slow", self.client_address)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Note what was no request; the original writes it to stderr, as often as a client likes."""
        LOG.debug("HTTP: %s: %r", self.client_address, format % arguments)

    def finish(self) -> None:
        """Close; a client that does not read does not keep what was left."""
        try:
            with time_limit(_REQUEST_S):
                super().finish()
        except (TimeoutError, OSError) as exc:
            LOG.debug("HTTP: %s: %s", self.client_address, exc)


class HttpServer:
    """Serves pages.

    :param address: an IP address of this machine.
    :param port: 1 to 65535.
    :param allow_remote: serve on an address that others can reach; there is no password.
    :raises ConfigError: the address is none, or may be reached by others and that is not allowed.
    """

    binary = "l3agent-http"

    def __init__(self, address: str, port: int, pages: Pages, *, allow_remote: bool = False) -> None:
        self._address = _parse_address(address, allow_remote)
        self._port = port
        self._pages = pages
        self._accepts_any_name = not self._address.is_loopback
        self._clients = _Clients()
        self._listener: Any = None
        self._acceptor: Any = None

    @property
    def port(self) -> int:
        """Return the port that it listens on."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Listen from now on.

        :raises ConfigError: the address is not of this machine, or the port is taken.
        """
        family = socket.AF_INET6 if self._address.version == 6 else socket.AF_INET
        try:
            self._listener = eventlet.listen((str(self._address), self._port), family, backlog=_CLIENTS)
        except OSError as exc:
            raise ConfigError(
                f"[http] bind_address, port: {self._address} port {self._port}: {exc.strerror or exc}"
            ) from exc
        self._acceptor = eventlet.spawn(self._serve)
        LOG.info("Status page and metrics: http://%s/", self._authority())

    def stop(self) -> None:
        """Listen no more and hang up."""
        if self._acceptor is None:
            return
        acceptor, self._acceptor = self._acceptor, None
        for client in list(self._clients.coroutines_running):
            eventlet.kill(client)
        acceptor.kill()
        self._listener.close()

    def wait(self) -> None:
        """Return: nothing goes on after ``stop``."""

    def reset(self) -> None:
        """Do nothing: there is no option to take over."""

    def healthy(self) -> bool:
        """Tell whether it listens."""
        return self._acceptor is None or not self._acceptor.dead

    def _authority(self) -> str:
        shown = f"[{self._address}]" if self._address.version == 6 else str(self._address)
        return f"{shown}:{self.port}"

    def _serve(self) -> None:
        wsgi.server(
            self._listener,
            self._application,
            custom_pool=self._clients,
            protocol=_Protocol,
            keepalive=False,
            log_output=False,
            debug=False,
            socket_timeout=_REQUEST_S,
            url_length_limit=_LINE_BYTES,
        )

    def _application(self, environ: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        answer = self._respond(environ)
        headers = {**_HEADERS, "Content-Type": answer.content_type, **answer.headers}
        headers["Content-Length"] = str(len(answer.body))
        start_response(answer.status, list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    def _respond(self, environ: Mapping[str, Any]) -> Response:
        if not (self._accepts_any_name or _is_local_name(environ.get("HTTP_HOST", ""))):
            return Response(b"not a name of this machine\n", status="421 Misdirected Request")
        page = self._pages.get(environ["PATH_INFO"])
        if page is None:
            return Response(f"here are {' '.join(self._pages)}\n".encode(), status="404 Not Found")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return Response(b"GET only\n", status="405 Method Not Allowed", headers={"Allow": "GET, HEAD"})
        try:
            return page()
        except Exception:
            LOG.exception("HTTP: %s", environ["PATH_INFO"])
            return Response(b"an error of ours; see the log of l3-agent\n", status="500 Internal Server Error")


def _parse_address(address: str, allow_remote: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as exc:
        raise ConfigError(f"[http] bind_address: {address}: expected an IP address") from exc
    if not (parsed.is_loopback or allow_remote):
        raise ConfigError(
            f"[http] bind_address: {address}: others can reach it, and the pages ask for no password; where that is "
            f"meant, set allow_remote = true"
        )
    return parsed


def _is_local_name(host: str) -> bool:
    """Tell whether a Host header is an address or ``localhost``: no name that a foreign DNS could lead here."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("localhost", ""):
        return True
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False
