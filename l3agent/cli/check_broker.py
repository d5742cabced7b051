# SPDX-License-Identifier: Apache-2.0
"""Checks the login to the broker and the answer of a server; ``l3-agentctl check`` runs it and reads its JSON.

It requests the service plug-ins of the server and the number of HA routers of this node, calls without side effects. It
never calls ``get_router_ids``, which schedules routers, nor ``sync_routers``, which binds ports.
"""

import warnings

with warnings.catch_warnings():
    # eventlet warns at import that it is deprecated, on which an operator cannot act.
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import json
import sys
from collections.abc import Sequence
from typing import Any

import kombu
import oslo_messaging
from oslo_log import log as logging

from l3agent.agent.plugin_api import TOPIC, L3PluginApi
from l3agent.cmd.neutron_options import ineffective_options, legacy_transport_url, requested_features, unknown_options
from l3agent.cmd.startup import load_config
from l3agent.exceptions import ConfigError, ServerUnavailable
from l3agent.rpc import Client, RemoteError, get_transport

EX_CONFIG = 78
#: Seconds for the broker, and for the server.
_BROKER_S, _SERVER_S = 5.0, 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the results as JSON; return exit status 78 if the configuration is invalid."""
    try:
        conf = load_config(sys.argv[1:] if argv is None else argv, prog="l3-agent")
        # stdout and stderr carry the results only, not the log of libraries.
        conf.set_override("use_stderr", False)
        logging.setup(conf, "l3agent")
        transport = get_transport(conf, "local:///check" if conf.standalone.topology else legacy_transport_url(conf))
        # Created before the options are checked: the client registers some of them.
        client = Client(transport, TOPIC, timeout=_SERVER_S, max_timeout=_SERVER_S)
    except (ConfigError, logging.LogConfigError) as exc:
        print(exc, file=sys.stderr)
        return EX_CONFIG
    found: dict[str, Any] = {
        "unknown": unknown_options(conf),
        "ineffective_options": ineffective_options(conf),
        "features": requested_features(conf),
    }
    if not conf.standalone.topology:
        found["broker"] = _check_broker(conf, transport)
        found["server"] = _check_server(L3PluginApi(client, conf.host)) if found["broker"]["error"] is None else None
    print(json.dumps(found), flush=True)
    return 0


def _check_broker(conf: Any, transport: Any) -> dict[str, Any]:
    """Log in to the first broker that accepts the connection, and return the URL and the errors of the others."""
    url = oslo_messaging.TransportURL.parse(conf, legacy_transport_url(conf))
    hosts = [f"{host.hostname}:{host.port or 5672}" for host in url.hosts]
    where = f"{url.transport or 'rabbit'}://{','.join(hosts)}/{url.virtual_host or ''}"
    if not (url.transport or "rabbit").startswith(("rabbit", "amqp", "kombu")):
        return {"url": where, "error": None}
    message = []
    for host in url.hosts:
        connection = kombu.Connection(
            hostname=host.hostname, port=host.port or 5672, userid=host.username, password=host.password,
            virtual_host=url.virtual_host or "/", transport="pyamqp", connect_timeout=_BROKER_S, ssl=_tls_options(conf),
        )  # fmt: skip
        try:
            with eventlet.Timeout(_BROKER_S, TimeoutError("no answer")), connection:
                connection.connect()
            return {"url": where, "error": None}
        except Exception as exc:
            message.append(f"{host.hostname}:{host.port or 5672}: {_describe_error(exc)}")
    return {"url": where, "error": "; ".join(message) or "transport_url names no broker"}


def _tls_options(conf: Any) -> Any:
    options = conf.oslo_messaging_rabbit if "oslo_messaging_rabbit" in conf else None
    if options is None or not options.ssl:
        return False
    named = {"ca_certs": options.ssl_ca_file, "certfile": options.ssl_cert_file, "keyfile": options.ssl_key_file}
    return {name: value for name, value in named.items() if value} or True


def _describe_error(exc: Exception) -> str:
    return " ".join(str(getattr(exc, "reply_text", "") or getattr(exc, "strerror", "") or exc).split())


def _check_server(server: L3PluginApi) -> dict[str, Any]:
    """Return the answers of the server; ``error`` is the reason if it does not answer."""
    try:
        return {"error": None, "plugins": _plugins(server), "ha_routers": server.get_host_ha_router_count() or 0}
    except ServerUnavailable as exc:
        return {"error": str(exc)}
    except RemoteError:
        # An error of the server is an answer as well.
        return {"error": None, "plugins": [], "ha_routers": 0}


def _plugins(server: L3PluginApi) -> list[str]:
    """Return the service plug-ins; empty if the server is too old for the method."""
    try:
        return server.get_service_plugin_list()
    except RemoteError:
        return []


if __name__ == "__main__":
    sys.exit(main())
