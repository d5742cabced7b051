# SPDX-License-Identifier: Apache-2.0
"""An HTTP server as a service: GET and HEAD only, a bounded number of connections, a deadline per request.

When all slots are occupied, a new connection evicts an idle connection of the client with the most connections
(:mod:`l3agent.ops.admission`). On a loopback address, requests whose Host header is a foreign name are rejected: this
prevents DNS rebinding, by which a remote web page reads from this machine under its own name.
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
#: Seconds for a request, from the connection to the last byte of the response.
_REQUEST_S = 10.0
#: Maximum length of the request line in bytes. eventlet limits a header to 8192 bytes, all headers to 65536.
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
    """A response of a page.

    :param status: code and reason.
    :param headers: headers that add to the default headers, or replace them.
    """

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: str = "200 OK"
    headers: Mapping[str, str] = field(default_factory=dict)


class _Clients(eventlet.GreenPool):  # type: ignore[misc]
    """The pool in which :func:`eventlet.wsgi.server` serves connections.

    Its size is twice the limit: evicted connections that have not ended yet count as well.
    """

    def __init__(self) -> None:
        super().__init__(2 * _CLIENTS)
        self.admission = Admission(_CLIENTS)

    def spawn(self, function: Callable[..., Any], state: list[Any]) -> Any:
        """Serve one connection.

        :param state: eventlet's list of address, socket and connection state.
        """
        (host, *_), connection, _ = state
        self.admission.admit(connection, host)
        return super().spawn(self._serve, function, state, connection)

    def _serve(self, function: Callable[..., Any], state: list[Any], connection: Any) -> None:
        try:
            function(state)
        finally:
            self.admission.release(connection)


#: Functions that return a response, by path.
Pages = Mapping[str, Callable[[], Response]]


class _Protocol(wsgi.HttpProtocol):  # type: ignore[misc]
    """A connection with one request and one deadline."""

    def handle(self) -> None:
        """Serve the connection until it ends or its deadline expires."""
        try:
            with time_limit(_REQUEST_S):
                super().handle()
        except TimeoutError:
            LOG.debug("HTTP: %s exceeded the deadline", self.client_address)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log an invalid request at DEBUG. The base class writes to stderr, at any rate that a client chooses."""
        LOG.debug("HTTP: %s: %r", self.client_address, format % arguments)

    def finish(self) -> None:
        """Close the connection within the deadline, even if the client does not read the response."""
        try:
            with time_limit(_REQUEST_S):
                super().finish()
        except (TimeoutError, OSError) as exc:
            LOG.debug("HTTP: %s: %s", self.client_address, exc)


class HttpServer:
    """Serves pages.

    :param address: an IP address of this machine.
    :param port: 1 to 65535.
    :param allow_remote: accept an address that other machines can reach; the pages have no authentication.
    :raises ConfigError: the address is invalid, or is not a loopback address and ``allow_remote`` is False.
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
        """The port of the listening socket."""
        return int(self._listener.getsockname()[1])

    def start(self) -> None:
        """Start to listen.

        :raises ConfigError: the address does not belong to this machine, or the port is in use.
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
        """Stop listening and close all connections."""
        if self._acceptor is None:
            return
        acceptor, self._acceptor = self._acceptor, None
        for client in list(self._clients.coroutines_running):
            eventlet.kill(client)
        acceptor.kill()
        self._listener.close()

    def wait(self) -> None:
        """Return immediately: ``stop`` has ended all greenthreads."""

    def reset(self) -> None:
        """Do nothing: no option changes on reload."""

    def healthy(self) -> bool:
        """Return True unless the accepting greenthread has died."""
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
            return Response(b"the Host header is not a name of this machine\n", status="421 Misdirected Request")
        page = self._pages.get(environ["PATH_INFO"])
        if page is None:
            return Response(f"pages: {' '.join(self._pages)}\n".encode(), status="404 Not Found")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return Response(b"use GET\n", status="405 Method Not Allowed", headers={"Allow": "GET, HEAD"})
        try:
            return page()
        except Exception:
            LOG.exception("HTTP: %s", environ["PATH_INFO"])
            return Response(b"internal error; see the log of l3-agent\n", status="500 Internal Server Error")


def _parse_address(address: str, allow_remote: bool) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as exc:
        raise ConfigError(f"[http] bind_address: {address}: expected an IP address") from exc
    if not (parsed.is_loopback or allow_remote):
        raise ConfigError(
            f"[http] bind_address: {address}: other machines can reach it, and the pages have no authentication; to "
            f"accept this, set allow_remote = true"
        )
    return parsed


def _is_local_name(host: str) -> bool:
    """Return True if a Host header is an IP address or ``localhost``, which no foreign DNS server can redefine."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("localhost", ""):
        return True
    with suppress(ValueError):
        return bool(ipaddress.ip_address(name))
    return False
