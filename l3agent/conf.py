# SPDX-License-Identifier: Apache-2.0
"""All options, and former names of renamed ones. Options that exist in Neutron have its names and groups.

Only ``cmd`` and ``cli`` import this module; other packages receive values, or the parsed object. ``list_opts`` is the
entry point of ``oslo-config-generator``.
"""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

CORE_OPTS = [
    cfg.StrOpt(
        "host",
        sample_default="node1.example.org",
        help="Name of this node, by which the server identifies the agent. Must not change. Default: the host name, "
        "as for all agents of Neutron.",
    ),
    cfg.StrOpt("state_path", default="/var/lib/neutron", help="Directory for the sockets and files of the agent."),
    cfg.StrOpt(
        "interface_driver",
        default="openvswitch",
        help="Connection of ports to networks. `openvswitch`: ports of the integration bridge, wired by "
        "neutron-openvswitch-agent. `linuxbridge`: veth pairs, plugged in by neutron-linuxbridge-agent. `bridge`: one "
        "Linux bridge per network, without an L2 agent; the default with a topology file. Class paths of the drivers "
        "of Neutron are accepted.",
    ),
    cfg.BoolOpt(
        "ovs_use_veth",
        default=False,
        help="Use veth pairs instead of internal ports of Open vSwitch.",
    ),
    cfg.StrOpt(
        "external_network_bridge",
        default="",
        help="Open vSwitch bridge for ports of gateways, not managed by the L2 agent, as in old deployments. Empty: "
        "the integration bridge.",
    ),
    cfg.StrOpt(
        "agent_mode",
        default="legacy",
        choices=["legacy", "dvr", "dvr_snat", "dvr_no_external"],
        help="Mode of the agent. Only `legacy` is supported; with another mode, for distributed routers, the agent "
        "does not start.",
    ),
    cfg.BoolOpt("cleanup_on_shutdown", default=False, help="Remove all routers of this node when the agent stops."),
    cfg.BoolOpt(
        "enable_metadata_proxy",
        default=True,
        help="Instances expect metadata from their router, as with neutron-l3-agent. This agent does not serve "
        "metadata: if True, each router with an internal port has a warning. The default is False with a topology "
        "file.",
    ),
    cfg.BoolOpt("handle_internal_only_routers", default=True, help="Also serve routers without a gateway."),
    cfg.StrOpt(
        "ipv6_gateway",
        default="",
        help="IPv6 default gateway for external networks that have no IPv6 subnet with a gateway; usually a "
        "link-local address. Empty: none.",
    ),
    cfg.FloatOpt(
        "periodic_interval",
        default=40,
        min=0.01,
        help="Maximum interval between runs of the periodic tasks, in seconds. Kept for compatibility: values of 1 or "
        "more have no effect.",
    ),
    cfg.FloatOpt(
        "periodic_fuzzy_delay",
        default=5,
        min=0,
        help="Maximum random delay of the first run of the periodic tasks, in seconds.",
    ),
    cfg.FloatOpt(
        "rpc_response_max_timeout",
        default=600,
        min=1,
        help="Upper bound of the RPC timeout, which doubles after each call that times out, in seconds.",
    ),
    cfg.IntOpt(
        "send_arp_for_ha",
        default=3,
        min=0,
        max=20,
        help="Number of announcements of a new address (gratuitous ARP or unsolicited neighbour advertisements).",
    ),
]

AGENT_OPTS = [
    cfg.FloatOpt(
        "report_interval",
        default=30,
        min=0.1,
        help="Interval of state reports in seconds; should be less than half of the server's agent_down_time.",
    ),
    cfg.BoolOpt("log_agent_heartbeats", default=False, help="Request the server to log each state report."),
    cfg.StrOpt("availability_zone", default="nova", help="Availability zone of this node."),
    cfg.StrOpt(
        "root_helper",
        default="sudo",
        help="Command that starts l3-dataplane with privilege if the agent has none, for example `sudo`. Permit it "
        "for that program with these arguments only; `l3-agentctl check` tests it.",
    ),
]

OVS_OPTS = [
    cfg.StrOpt(
        "integration_bridge",
        default="br-int",
        deprecated_name="ovs_integration_bridge",
        deprecated_group="DEFAULT",
        help="Open vSwitch bridge whose ports the L2 agent wires.",
    ),
    cfg.StrOpt(
        "ovsdb_connection",
        default="tcp:127.0.0.1:6640",
        help="Address of the Open vSwitch database: tcp:IP:PORT, ssl:IP:PORT or unix:FILE.",
    ),
    cfg.FloatOpt(
        "ovsdb_timeout",
        default=10,
        min=1,
        deprecated_name="ovs_vsctl_timeout",
        deprecated_group="DEFAULT",
        help="Timeout of one change in Open vSwitch, in seconds.",
    ),
    cfg.StrOpt("ssl_key_file", default="", help="Private key for ssl connections to the database."),
    cfg.StrOpt("ssl_cert_file", default="", help="Certificate for ssl connections to the database."),
    cfg.StrOpt(
        "ssl_ca_cert_file", default="", help="Certificate of the authority that signed the certificate of the database."
    ),
]

DATAPLANE_OPTS = [
    cfg.BoolOpt(
        "spawn_dataplane",
        default=True,
        help="Start l3-dataplane if none listens on the socket, and restart it after it ends.",
    ),
    cfg.StrOpt("socket", default="$state_path/l3-dataplane.sock", help="Unix socket of the data-plane process."),
    cfg.StrOpt(
        "netns_path",
        default="/run/netns",
        help="Directory where network namespaces are pinned; the default is the directory of `ip netns`.",
    ),
    cfg.BoolOpt(
        "allow_private_netns_path",
        default=False,
        help="Accept a netns_path whose namespaces are invisible on the host, in a container for trials. If False, "
        "l3-dataplane ends with status 78 in a container without the directory of the host as a shared mount.",
    ),
    cfg.FloatOpt(
        "timeout",
        default=60,
        min=1,
        help="Timeout of one request to the data plane, in seconds; the agent retries afterwards.",
    ),
    cfg.BoolOpt(
        "repair_drift",
        default=True,
        help="Repair at once what other programs change in the kernel state of the agent. If False, the next full "
        "sync repairs it.",
    ),
    cfg.IntOpt(
        "pool_size",
        default=16,
        min=0,
        max=256,
        help="Number of empty namespaces kept ready for new routers; each needs about 0.4 MB of kernel memory.",
    ),
    cfg.BoolOpt(
        "count_traffic",
        default=False,
        help="Count packets and bytes of each floating IP, from and to the external network, for `l3-agentctl "
        "traffic`; each packet costs two additional lookups.",
    ),
    cfg.StrOpt(
        "log_file",
        help="Log file of the data-plane process, in a directory of root such as /var/log/l3agent; default: standard "
        "error.",
    ),
    cfg.FloatOpt(
        "announce_interval", default=2, min=0.05, help="Interval of the announcements of an address, in seconds."
    ),
]

L3AGENT_OPTS = [
    cfg.IntOpt(
        "router_workers",
        default=8,
        min=1,
        max=256,
        help="Number of routers processed concurrently (size of the GreenPool).",
    ),
    cfg.FloatOpt(
        "retry_min", default=1, min=0.01, help="Back-off before the first retry of a failed router, in seconds."
    ),
    cfg.FloatOpt(
        "retry_max", default=60, min=0.01, help="Upper bound of the exponential back-off between retries, in seconds."
    ),
    cfg.IntOpt(
        "fetch_batch",
        default=32,
        min=1,
        max=256,
        help="Maximum number of waiting routers to fetch from the server in one call.",
    ),
    cfg.FloatOpt(
        "resync_jitter",
        default=5,
        min=0,
        help="Maximum random delay of a full sync after a lost connection to the broker, in seconds, so that not all "
        "agents call the server at once.",
    ),
    cfg.FloatOpt(
        "resync_interval",
        default=3600,
        min=0,
        help="Interval of full syncs without another cause, in seconds, plus or minus a tenth. 0: none, as "
        "neutron-l3-agent.",
    ),
    cfg.FloatOpt(
        "mass_delete_share",
        default=0.25,
        min=0,
        max=1,
        help="Mass-deletion guard: if an answer of the server lacks more than this fraction of the routers on this "
        "node (more than one, or all), they are kept until a second answer confirms it.",
    ),
    cfg.FloatOpt(
        "mass_delete_confirm_interval",
        default=30,
        min=0,
        help="Seconds between an answer that the mass-deletion guard suspects and the request that confirms it. 0: no "
        "guard, routers are removed at once, as neutron-l3-agent does.",
    ),
    cfg.FloatOpt(
        "orphan_grace_period",
        default=0,
        help="Seconds until the namespace of an unknown router is removed, counted from the full sync that finds it. "
        "0: at once, as neutron-l3-agent does at its start. Negative: never; `l3-agentctl status` lists them.",
    ),
    cfg.StrOpt(
        "rpc_trace_file",
        help="File for a trace of the RPC messages between agent and server, without secrets, for tests and defect "
        "reports. At most 64 MB. Default: none.",
    ),
    cfg.FloatOpt(
        "state_cache_interval",
        default=5,
        min=0,
        help="Minimum interval of writes to the state cache, in seconds. The agent serves the cached routers if the "
        "server does not answer at start. 0: no cache.",
    ),
]

HTTP_OPTS = [
    cfg.PortOpt(
        "port",
        default=0,
        help="TCP port of the HTTP server with the status page, metrics for Prometheus (/metrics) and health checks "
        "(/healthz, /readyz). 0: no server.",
    ),
    cfg.StrOpt(
        "bind_address",
        default="127.0.0.1",
        help="IP address of the HTTP server; a loopback address unless allow_remote is set.",
    ),
    cfg.BoolOpt(
        "allow_remote",
        default=False,
        help="Permit a bind_address other than loopback. The pages require no password and show the routers.",
    ),
]

STANDALONE_OPTS = [
    cfg.StrOpt(
        "topology",
        help="Topology file (YAML). If set, the agent needs neither neutron-server nor broker: its process serves the "
        "file.",
    ),
    cfg.FloatOpt(
        "watch_interval", default=1, min=0.05, help="Interval of the checks for a changed topology file, in seconds."
    ),
]

#: Renamed options: former (group, name) -> (group, name). A former name in a configuration is an error.
RENAMED_OPTS: dict[tuple[str, str], tuple[str, str]] = {
    ("dataplane", "spawn"): ("dataplane", "spawn_dataplane"),
    ("dataplane", "repair"): ("dataplane", "repair_drift"),
    ("dataplane", "private_netns_path"): ("dataplane", "allow_private_netns_path"),
    ("l3agent", "mass_delete_confirm"): ("l3agent", "mass_delete_confirm_interval"),
    ("l3agent", "orphan_grace"): ("l3agent", "orphan_grace_period"),
    ("l3agent", "last_known_interval"): ("l3agent", "state_cache_interval"),
}


def list_opts() -> list[tuple[str | None, list[Any]]]:
    """Return all options by group, in the form of an ``oslo-config-generator`` entry point."""
    return [
        (None, CORE_OPTS),
        ("AGENT", AGENT_OPTS),
        ("OVS", OVS_OPTS),
        ("dataplane", DATAPLANE_OPTS),
        ("http", HTTP_OPTS),
        ("l3agent", L3AGENT_OPTS),
        ("standalone", STANDALONE_OPTS),
    ]


def register_opts(conf: Any) -> None:
    """Register all options on a ``ConfigOpts``. Idempotent."""
    for group, opts in list_opts():
        conf.register_opts(opts, group=group)
