# SPDX-License-Identifier: Apache-2.0
"""Transports of oslo.messaging: construction from the configuration, and their renewal in a forked worker."""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakSet

import oslo_messaging
from oslo_config import cfg
from oslo_log import log as logging

from l3agent.exceptions import ConfigError
from l3agent.rpc.driver_log import limit_driver_log
from l3agent.rpc.local import LocalDriver

LOG = logging.getLogger(__name__)

CONTROL_EXCHANGE = "neutron"
# These do not affect declarations of queues and exchanges, so agents with other values may share the virtual host.
# The driver's defaults (1, 3, 5 ... 30 s between attempts, plus 1 s) delay the reconnection by up to half a minute.
RABBIT_DEFAULTS = {
    "rabbit_retry_interval": 1,
    "rabbit_retry_backoff": 0,
    "rabbit_interval_max": 1,
    "kombu_reconnect_delay": 0.1,
    "heartbeat_timeout_threshold": 30,
}
_URL_HINT = (
    "it cannot be parsed; it has the form rabbit://user:password@host:port/vhost, and special characters of the "
    "password are percent-encoded (/ as %2F, # as %23, ? as %3F, @ as %40)"
)
# Transports that a forked worker renews.
_transports: WeakSet[Any] = WeakSet()
# Drivers of the parent. They must not be collected: the destructor of a connection shuts down the shared socket.
_inherited: list[Any] = []


def get_transport(conf: cfg.ConfigOpts, url: str | None = None) -> oslo_messaging.RPCTransport:
    """Return the RPC transport of a configuration, without connecting.

    :param conf: any ``ConfigOpts``, private or global; options of oslo.messaging are registered on it, with defaults of
        this library for options that neither a file nor the program has set.
    :param url: overrides ``transport_url`` of the configuration.
    :raises ConfigError: the URL cannot be parsed, or its driver cannot be loaded.
    """
    try:
        parsed = oslo_messaging.TransportURL.parse(conf, url)
        _set_defaults(conf, None, {"control_exchange": CONTROL_EXCHANGE})
        transport = oslo_messaging.get_rpc_transport(conf, parsed)
    except (ValueError, oslo_messaging.InvalidTransportURL):
        # The parser's message contains a part of the password.
        raise ConfigError(f"transport_url: {_without_password(url or conf.transport_url)}: {_URL_HINT}") from None
    except oslo_messaging.DriverLoadFailure as error:
        raise ConfigError(f"transport_url: {_without_password(url or conf.transport_url)}: {error}") from error
    _register_private_options(conf)
    limit_driver_log()
    if "oslo_messaging_rabbit" in conf:
        _set_defaults(conf, "oslo_messaging_rabbit", RABBIT_DEFAULTS)
    _transports.add(transport)
    return transport


def renew_transports() -> None:
    """Replace the driver of each transport of :func:`get_transport` after a fork.

    The inherited driver has connections of the parent, which two processes cannot share, and waits for greenthreads
    that do not exist in the child. Consumers started before the fork remain in the parent.
    """
    LocalDriver.reset_brokers()
    for transport in list(_transports):
        _inherited.append(transport._driver)
        renewed = oslo_messaging.get_rpc_transport(transport.conf, transport._driver._url)
        transport._driver = renewed._driver


def _without_password(url: str) -> str:
    """Return a URL, valid or not, without the text between its first user and its last host."""
    return re.sub(r"^((?:[^:]*://)?[^:]*):.*@", r"\1:***@", url, flags=re.DOTALL)


def _set_defaults(conf: cfg.ConfigOpts, group: str | None, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if conf.get_location(name, group).location is cfg.Locations.opt_default:
            conf.set_default(name, value, group=group)


def _register_private_options(conf: cfg.ConfigOpts) -> None:
    """Register the two groups that oslo.messaging reads from each conf but registers on the global one only."""
    try:
        from oslo_messaging._metrics.client import oslo_messaging_metrics
        from oslo_messaging._tracing.client import oslo_messaging_tracing
    except ImportError:  # a later release may move or fix them; pyproject has an upper bound of the version
        LOG.warning("oslo.messaging no longer has its private option groups; calls may fail with NoSuchOptError")
        return
    conf.register_opts(oslo_messaging_tracing, "oslo_messaging_tracing")
    conf.register_opts(oslo_messaging_metrics, "oslo_messaging_metrics")
