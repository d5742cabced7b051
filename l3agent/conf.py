# SPDX-License-Identifier: Apache-2.0
"""Every option, once, and those that were renamed. Names and groups are Neutron's where the meaning is the same.

Only ``cmd/`` imports this module; everything below gets values, or the parsed object. ``list_opts`` feeds
``oslo-config-generator``.
"""

from __future__ import annotations

from typing import Any

from oslo_config import cfg

CORE_OPTS = [
    cfg.StrOpt(
        "host",
        sample_default="node1.example.org",
        help="Name of this node, the identity of the agent towards the server. Must not change. What `hostname` says "
        "when left out, as for all of Neutron's agents.",
    ),
    cfg.StrOpt("state_path", default="/var/lib/neutron", help="Folder for the sockets and files of the agent."),
    cfg.StrOpt(
        "interface_driver",
        default="openvswitch",
        help="How ports are plugged into networks. `openvswitch`: ports of the integration bridge, for "
        "neutron-openvswitch-agent to wire. `linuxbridge`: veth pairs, for neutron-linuxbridge-agent to plug in. "
        "`bridge`: a Linux bridge a network, no other agent needed; the default with a topology file. Class paths of "
        "neutron's drivers are understood.",
    ),
    cfg.BoolOpt(
        "ovs_use_veth",
        default=False,
        help="Veth pairs instead of internal ports of Open vSwitch.",
    ),
    cfg.StrOpt(
        "external_network_bridge",
        default="",
        help="Bridge of Open vSwitch that ports of gateways are plugged into, past the L2 agent, as in deployments of "
        "old. Empty: the integration bridge.",
    ),
    cfg.StrOpt(
        "agent_mode",
        default="legacy",
        choices=["legacy", "dvr", "dvr_snat", "dvr_no_external"],
        help="Mode of the agent. Only `legacy` is built; the others, of distributed routers, are refused at start.",
    ),
    cfg.BoolOpt("cleanup_on_shutdown", default=False, help="Remove all routers of this node when the agent stops."),
    cfg.BoolOpt(
        "enable_metadata_proxy",
        default=True,
        help="Whether instances expect metadata from their router, as with neutron-l3-agent. This agent does not serve "
        "it: if True, each router with an internal port has a warning. The default is False with a topology file.",
    ),
    cfg.BoolOpt("handle_internal_only_routers", default=True, help="Serve routers without a gateway too."),
    cfg.StrOpt(
        "ipv6_gateway",
        default="",
        help="IPv6 address of the next hop where the external network has no IPv6 subnet with a gateway; as a rule a "
        "link-local address. Empty: none.",
    ),
    cfg.FloatOpt(
        "periodic_interval",
        default=40,
        min=0.01,
        help="Most seconds between two looks for periodic tasks that are due. The only one is due, and looked for, "
        "every second, so a value of 1 or more changes nothing.",
    ),
    cfg.FloatOpt(
        "periodic_fuzzy_delay",
        default=5,
        min=0,
        help="The first run of the periodic tasks comes after a random time up to this, in seconds.",
    ),
    cfg.FloatOpt(
        "rpc_response_max_timeout",
        default=600,
        min=1,
        help="Upper bound, in seconds, of the time the server has for an answer, which doubles on each timeout.",
    ),
    cfg.IntOpt(
        "send_arp_for_ha",
        default=3,
        min=0,
        max=20,
        help="How many times a new address is announced by gratuitous ARP or unsolicited neighbour advertisement.",
    ),
]

AGENT_OPTS = [
    cfg.FloatOpt(
        "report_interval",
        default=30,
        min=0.1,
        help="Seconds between two state reports; should be less than half of the server's agent_down_time.",
    ),
    cfg.BoolOpt("log_agent_heartbeats", default=False, help="Ask the server to log each state report."),
    cfg.StrOpt("availability_zone", default="nova", help="Availability zone of this node."),
    cfg.StrOpt(
        "root_helper",
        default="sudo",
        help="Command that runs l3-dataplane with privilege when the agent has none, for example `sudo`. Allow it that "
        "program with these arguments only; `l3-agentctl check` tries it.",
    ),
]

OVS_OPTS = [
    cfg.StrOpt(
        "integration_bridge",
        default="br-int",
        deprecated_name="ovs_integration_bridge",
        deprecated_group="DEFAULT",
        help="Bridge of Open vSwitch whose ports the L2 agent wires.",
    ),
    cfg.StrOpt(
        "ovsdb_connection",
        default="tcp:127.0.0.1:6640",
        help="Where the database of Open vSwitch listens: tcp:IP:PORT, ssl:IP:PORT or unix:FILE.",
    ),
    cfg.FloatOpt(
        "ovsdb_timeout",
        default=10,
        min=1,
        deprecated_name="ovs_vsctl_timeout",
        deprecated_group="DEFAULT",
        help="Seconds that Open vSwitch has for one change.",
    ),
    cfg.StrOpt("ssl_key_file", default="", help="Private key for ssl connections to the database."),
    cfg.StrOpt("ssl_cert_file", default="", help="Certificate for ssl connections to the database."),
    cfg.StrOpt("ssl_ca_cert_file", default="", help="Certificate of the authority that the database's one is from."),
]

DATAPLANE_OPTS = [
    cfg.BoolOpt(
        "spawn_dataplane",
        default=True,
        help="Start l3-dataplane when none listens on the socket, and start it again when it dies.",
    ),
    cfg.StrOpt("socket", default="$state_path/l3-dataplane.sock", help="Unix socket of the data-plane process."),
    cfg.StrOpt(
        "netns_path",
        default="/run/netns",
        help="Folder where network namespaces are pinned; the default is where `ip netns` looks.",
    ),
    cfg.BoolOpt(
        "allow_private_netns_path",
        default=False,
        help="Accept a netns_path whose namespaces the host does not see, in a container for trials. When off, "
        "l3-dataplane ends with 78 in a container that lacks the host's directory as a shared mount.",
    ),
    cfg.FloatOpt(
        "timeout",
        default=60,
        min=1,
        help="Seconds the data plane has for one request before the agent gives it up and tries again.",
    ),
    cfg.BoolOpt(
        "repair_drift",
        default=True,
        help="Undo at once what somebody else changes in what the agent made. When off, the next full sync does.",
    ),
    cfg.IntOpt(
        "pool_size",
        default=16,
        min=0,
        max=256,
        help="How many empty namespaces are kept ready for new routers; each takes about 0.4 MB of kernel memory.",
    ),
    cfg.BoolOpt(
        "count_traffic",
        default=False,
        help="Count packets and bytes of each floating IP to and from outside, for `l3-agentctl traffic`; each packet "
        "costs two more look-ups.",
    ),
    cfg.StrOpt(
        "log_file",
        help="Log file of the data-plane process, in a directory of root such as /var/log/l3agent; without one it logs "
        "to its standard error.",
    ),
    cfg.FloatOpt(
        "announce_interval", default=2, min=0.05, help="Seconds between two announcements of the same address."
    ),
]

L3AGENT_OPTS = [
    cfg.IntOpt(
        "router_workers",
        default=8,
        min=1,
        max=256,
        help="How many routers are processed at the same time (size of the GreenPool).",
    ),
    cfg.FloatOpt(
        "retry_min", default=1, min=0.01, help="Seconds before a failed router is tried again the first time."
    ),
    cfg.FloatOpt("retry_max", default=60, min=0.01, help="Upper bound, in seconds, of the growing time between tries."),
    cfg.IntOpt(
        "fetch_batch",
        default=32,
        min=1,
        max=256,
        help="How many waiting routers are fetched from the server in one call.",
    ),
    cfg.FloatOpt(
        "resync_jitter",
        default=5,
        min=0,
        help="A full sync after a lost connection to the broker waits a random time up to this, in seconds, "
        "so that not every agent asks at once.",
    ),
    cfg.FloatOpt(
        "resync_interval",
        default=3600,
        min=0,
        help="Seconds from one full sync to the next of an agent that has no other reason for one, give or take a "
        "tenth. 0: none, as neutron-l3-agent.",
    ),
    cfg.FloatOpt(
        "mass_delete_share",
        default=0.25,
        min=0,
        max=1,
        help="When the server's answer leaves out more than this share of the routers that are here (more than one, or "
        "all), they are kept until a second answer says the same.",
    ),
    cfg.FloatOpt(
        "mass_delete_confirm_interval",
        default=30,
        min=0,
        help="Seconds between an answer that leaves out many routers and the one that confirms it. 0: they are removed "
        "at once, as neutron-l3-agent does.",
    ),
    cfg.FloatOpt(
        "orphan_grace_period",
        default=0,
        help="Seconds from the full sync that finds the namespace of a router that neither the server names nor this "
        "agent has served to its removal. 0: at once, as neutron-l3-agent does at its start. Negative: never; "
        "`l3-agentctl status` lists them.",
    ),
    cfg.StrOpt(
        "rpc_trace_file",
        help="File to write everything to that the agent and its server say to each other, without secrets, for a test "
        "or a report of a defect. It ends at 64 MB. Without one, nothing is written.",
    ),
    cfg.FloatOpt(
        "state_cache_interval",
        default=5,
        min=0,
        help="Seconds between two writes, at least, of the file with the last known routers, from which the agent "
        "serves them when the server does not answer at start. 0: no such file.",
    ),
]

HTTP_OPTS = [
    cfg.PortOpt(
        "port",
        default=0,
        help="TCP port of the status page, of the metrics for Prometheus (/metrics) and of the health of the agent "
        "(/healthz, /readyz). 0: none.",
    ),
    cfg.StrOpt("bind_address", default="127.0.0.1", help="IP address of that port; a loopback address."),
    cfg.BoolOpt(
        "allow_remote",
        default=False,
        help="Allow a bind_address that others can reach. The pages ask for no password, and name the routers.",
    ),
]

STANDALONE_OPTS = [
    cfg.StrOpt(
        "topology",
        help="Topology file (YAML). When set, the agent needs no server and no broker: it serves the file to itself.",
    ),
    cfg.FloatOpt(
        "watch_interval", default=1, min=0.05, help="Seconds between two looks at the topology file for a change."
    ),
]

#: Options of former releases that have another name now: (group, name) -> (group, name). An old name is an error.
RENAMED_OPTS: dict[tuple[str, str], tuple[str, str]] = {
    ("dataplane", "spawn"): ("dataplane", "spawn_dataplane"),
    ("dataplane", "repair"): ("dataplane", "repair_drift"),
    ("dataplane", "private_netns_path"): ("dataplane", "allow_private_netns_path"),
    ("l3agent", "mass_delete_confirm"): ("l3agent", "mass_delete_confirm_interval"),
    ("l3agent", "orphan_grace"): ("l3agent", "orphan_grace_period"),
    ("l3agent", "last_known_interval"): ("l3agent", "state_cache_interval"),
}


def list_opts() -> list[tuple[str | None, list[Any]]]:
    """Return all options by group, the form ``oslo-config-generator`` wants."""
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
    """Register all options on a ``ConfigOpts``; doing it twice is harmless."""
    for group, opts in list_opts():
        conf.register_opts(opts, group=group)
