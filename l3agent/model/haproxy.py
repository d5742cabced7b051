# SPDX-License-Identifier: Apache-2.0
"""The configuration of the haproxy that forwards the metadata requests of all routers to the metadata agent.

It does not depend on the routers: each connection brings the id of its router in the header of the PROXY protocol
(``l3agent/metadata``). Source: configuration manual of haproxy 2.6.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes of a request, with the headers that are added. The metadata agent of Neutron 29 reads once, 4096 bytes.
MAX_REQUEST = 4096
#: Bytes that haproxy adds after the rules: ``connection: close`` and the separators of the first line.
_ADDED = 32
#: Entries of the table of routers, and of the tables of clients.
_ROUTERS, _CLIENTS = 10_000, 100_000
#: An id as model/validators.py accepts it.
_ROUTER_ID = "^[0-9a-fA-F-]{11,36}$"
#: Length of ``ID/ADDRESS``.
_CLIENT_KEY = 36 + 1 + 45
#: Only one connection uses these (RFC 9110, section 7.6.1). haproxy has evaluated Connection before the rules.
_HOP_BY_HOP = (
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Upgrade",
)
#: Headers by which agent and nova identify a client; haproxy compares names in lower case.
_IDENTITY_PREFIXES = ("x-neutron-", "x-instance-", "x-tenant-", "x-forwarded", "forwarded", "x-metadata-provider")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests of one client of one router, as in ``[metadata_rate_limiting]`` of Neutron.

    :param ip_versions: address families of the clients that are limited; Neutron allows one, this program both.
    :param base_window: seconds.
    :param base_requests: most requests in ``base_window``.
    :param burst_window: seconds.
    :param burst_requests: most requests in ``burst_window``.
    """

    ip_versions: tuple[int, ...] = (4,)
    base_window: int = 10
    base_requests: int = 10
    burst_window: int = 10
    burst_requests: int = 10


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, as in ``[metadata_haproxy]`` of Neutron."""

    connect: int = 30
    client: int = 32
    server: int = 32
    http_request: int = 30
    http_keep_alive: int = 30


@dataclass(frozen=True, slots=True)
class MetadataProxy:
    """All values that the configuration depends on.

    :param listen: path of the unix socket of haproxy, in a directory that only its user can enter.
    :param agent: path of the unix socket of the metadata agent.
    :param log: target of log lines: a path such as ``/dev/log``, or ``stdout``.
    :param connections: most connections; not fewer than those of the acceptor.
    :param agent_requests: most requests that the agent processes at a time; others wait.
    :param rate_limit: None for no limit.
    """

    listen: str
    agent: str
    log: str = "/dev/log"
    connections: int = 1024
    agent_requests: int = 256
    timeouts: Timeouts = Timeouts()
    rate_limit: RateLimit | None = None


def haproxy_configuration(proxy: MetadataProxy) -> str:
    """Return the text of the configuration file."""
    sections = [
        _global(proxy),
        _defaults(proxy.timeouts),
        *_tables(proxy.rate_limit),
        _frontend(proxy),
        _backend(proxy),
    ]
    return "\n".join("\n".join((head, *(f"    {line}" for line in lines), "")) for head, lines in sections)


# ---- private ---------------------------------------------------------------------------------------------------------

_Section = tuple[str, list[str]]


def _global(proxy: MetadataProxy) -> _Section:
    target = "stdout format raw" if proxy.log == "stdout" else _quote(proxy.log)
    return "global", [
        f"log {target} local0 info",
        "log-tag l3agent-metadata",
        # Some for connections that the acceptor has closed and haproxy has not.
        f"maxconn {proxy.connections + proxy.connections // 8 + 16}",
        # One thread answers thousands of requests per second, at the least cost per request.
        "nbthread 1",
    ]


def _defaults(timeouts: Timeouts) -> _Section:
    return "defaults", [
        "mode http",
        "log global",
        'log-format "%ci:%cp router=%[var(sess.router)] %ST %B %Tr/%Tw/%Ta ms %tsc %{+Q}r"',
        "option dontlognull",
        # The agent serves one request per connection; clients may keep theirs.
        "option http-server-close",
        # Without the agent the answer is 503 at once.
        "retries 0",
        f"timeout http-request {timeouts.http_request}s",
        f"timeout connect {timeouts.connect}s",
        f"timeout queue {timeouts.connect}s",
        f"timeout client {timeouts.client}s",
        f"timeout server {timeouts.server}s",
        f"timeout http-keep-alive {timeouts.http_keep_alive}s",
    ]


def _tables(limit: RateLimit | None) -> list[_Section]:
    tables: list[_Section] = [
        ("backend routers", [f"stick-table type string len 36 size {_ROUTERS} expire 60s store conn_cur"])
    ]
    if limit is not None:
        expire = max(limit.base_window, limit.burst_window)
        for name, window in (("base", limit.base_window), ("burst", limit.burst_window)):
            table = f"stick-table type string len {_CLIENT_KEY} size {_CLIENTS} expire {expire}s"
            tables.append((f"backend {name}_rate", [f"{table} store http_req_rate({window}s)"]))
    return tables


def _frontend(proxy: MetadataProxy) -> _Section:
    return "frontend metadata", [
        # h1: a client cannot change to HTTP/2, whose many streams per connection would bypass the limits.
        f"bind unix@{_quote(proxy.listen)} mode 600 accept-proxy proto h1",
        # Before the first request: lines about requests that cannot be parsed name the router as well.
        "tcp-request session set-var(sess.router) fc_pp_unique_id",
        f"acl has_router var(sess.router) -m reg {_ROUTER_ID}",
        "http-request deny deny_status 403 unless has_router",
        *_rate_rules(proxy.rate_limit),
        # The agent parses neither tunnels nor chunks.
        "http-request deny deny_status 405 if METH_CONNECT",
        "acl is_chunked req.hdr(Transfer-Encoding) -m found",
        'http-request return status 411 content-type text/plain string "Length Required" if is_chunked',
        f"http-request deny deny_status 413 if {{ req.hdr_val(Content-Length) gt {MAX_REQUEST} }}",
        *(f"http-request del-header {name}" for name in _HOP_BY_HOP),
        *(f"http-request del-header {prefix} -m beg" for prefix in _IDENTITY_PREFIXES),
        # The agent reads X_Neutron_Router_ID as X-Neutron-Router-ID: to WSGI they are one name.
        "http-request del-header _ -m sub",
        "http-request set-header X-Neutron-Router-ID %[var(sess.router)]",
        "http-request set-header X-Forwarded-For %[src]",
        # The agent reads once: the body has to arrive with the headers.
        f"http-request wait-for-body time {proxy.timeouts.http_request}s",
        "http-request set-var(txn.method) method,length",
        "http-request set-var(txn.url) url,length",
        "http-request set-var(txn.body) req.body_size",
        f"http-request set-var(txn.size) req.hdrs,length,add(txn.method),add(txn.url),add(txn.body),add({_ADDED})",
        f"http-request deny deny_status 413 if {{ var(txn.size) -m int gt {MAX_REQUEST} }}",
        # Requests that wait for the agent: those of the router with the fewest go first.
        "http-request track-sc2 var(sess.router) table routers",
        "http-request set-priority-class sc2_conn_cur(routers)",
        "default_backend agent",
    ]


def _rate_rules(limit: RateLimit | None) -> list[str]:
    """Return the rules of a limit: per router and source, since routers may have equal subnets."""
    if limit is None:
        return []
    families = {4: "0.0.0.0/0", 6: "::/0"}
    limited = f"{{ src {' '.join(families[version] for version in sorted(limit.ip_versions))} }}"
    return [
        'http-request set-var-fmt(txn.client) "%[var(sess.router)]/%[src]"',
        f"http-request track-sc0 var(txn.client) table base_rate if {limited}",
        f"http-request track-sc1 var(txn.client) table burst_rate if {limited}",
        f"http-request deny deny_status 429 if {{ sc0_http_req_rate(base_rate) gt {limit.base_requests} }}",
        f"http-request deny deny_status 429 if {{ sc1_http_req_rate(burst_rate) gt {limit.burst_requests} }}",
    ]


def _backend(proxy: MetadataProxy) -> _Section:
    return "backend agent", [
        "http-reuse never",
        f"server metadata unix@{_quote(proxy.agent)} maxconn {proxy.agent_requests}",
    ]


def _quote(path: str) -> str:
    """Return a path as one word of the configuration (section 2.2 of the manual: strong quotes).

    :raises ValueError: it has a line break or a strong quote.
    """
    if not path.isprintable() or "'" in path:
        raise ValueError(f"{path!r}: a path in the configuration of haproxy is printable, without quotes")
    return f"'{path}'" if set(path) & set(' \\"#$') else path
