# SPDX-License-Identifier: Apache-2.0
"""Configuration files of a Neutron deployment: options without effect, misspelt options, and legacy broker options.

Many programs share these files, so an unknown option is ignored. Each option of neutron-l3-agent, however, is an option
of this agent, or is in the table below with the reason why it has no effect.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from oslo_config import cfg

from l3agent.conf import list_opts
from l3agent.model.interface_drivers import driver_name

_HA = "HA routers are not built"
_METADATA = "there is no metadata proxy"
_RA = "there are no router advertisements"
_EXTENSIONS = "there are no agent extensions"
_PREFIXES = "there is no prefix delegation"
_ONE_NETWORK = "an agent serves all external networks and routers that the server names"
_OVS = "another interface driver is in use"
_OVS_ITSELF = "a port is created through OVSDB alike in any datapath"
_NO_COMMANDS = "no command is run as root"
_NO_IPTABLES = "rules are nftables, changed by element; source ports are always fully random"
_NO_CHILDREN = "there are no child processes of routers"
_PORT_MTU = "the MTU of each port comes from the server"
_NO_BACKDOOR = "there is no backdoor; use l3-agentctl status"
_PRIVSEP = "l3-dataplane is the one process with privilege"
_EACH_SECOND = "the only periodic task runs every second"
_BROKER = "the broker is named by transport_url"

_PRIVSEP_GROUPS = (
    "privsep",
    "privsep_namespace",
    "privsep_link",
    "privsep_conntrack",
    "privsep_ovs_vsctl",
    "privsep_dhcp_release",
)
_PRIVSEP_NAMES = "user group capabilities helper_command thread_pool_size logger_name log_daemon_traceback"

#: Why an option of neutron-l3-agent, of any release, has no effect: reason -> group -> names. An option that this agent
#: registers has an effect even if its name is in this table.
_REASONS: Mapping[str, Mapping[str, str]] = {
    _HA: {
        "DEFAULT": "ha_confs_path ha_vrrp_auth_type ha_vrrp_auth_password ha_vrrp_advert_int "
        "ha_vrrp_health_check_interval ha_keepalived_state_change_server_threads ha_conntrackd_enabled "
        "ha_conntrackd_hashsize ha_conntrackd_hashlimit ha_conntrackd_unix_backlog ha_conntrackd_socketbuffersize "
        "ha_conntrackd_socketbuffersize_max_grown ha_conntrackd_ipv4_mcast_addr ha_conntrackd_group "
        "ha_conntrackd_sndsocketbuffer ha_conntrackd_rcvsocketbuffer per_router_log_files router_log_files_in_ha_confs"
    },
    _METADATA: {
        "DEFAULT": "metadata_port metadata_access_mark metadata_proxy_socket metadata_proxy_user "
        "metadata_proxy_group metadata_proxy_watch_log",
        "metadata_rate_limiting": "rate_limit_enabled ip_versions base_window_duration base_query_rate_limit "
        "burst_window_duration burst_query_rate_limit",
        "metadata_haproxy": "timeout_connect timeout_client timeout_server timeout_http_request "
        "timeout_http_keep_alive",
    },
    _RA: {"DEFAULT": "radvd_user ra_confs min_rtr_adv_interval max_rtr_adv_interval"},
    _EXTENSIONS: {"AGENT": "extensions"},
    _PREFIXES: {"DEFAULT": "prefix_delegation_driver pd_dhcp_driver pd_confs vendor_pen"},
    _ONE_NETWORK: {"DEFAULT": "router_id gateway_external_network_id"},
    _OVS: {
        "DEFAULT": "external_network_bridge ovs_use_veth ovs_integration_bridge",
        "OVS": "integration_bridge ovsdb_connection ovsdb_timeout ssl_key_file ssl_cert_file ssl_ca_cert_file",
    },
    _OVS_ITSELF: {"OVS": "datapath_type ovsdb_interface ovsdb_debug"},
    _NO_COMMANDS: {
        "DEFAULT": "ip_lib_force_root ovs_vsctl_timeout",
        "AGENT": "root_helper_daemon use_helper_for_ns_read kill_scripts_path",
        "oslo_concurrency": "lock_path",
    },
    _NO_IPTABLES: {
        "DEFAULT": "external_ingress_mark",
        "AGENT": "comment_iptables_rules debug_iptables_rules use_random_fully",
    },
    _NO_CHILDREN: {
        "DEFAULT": "external_pids",
        "AGENT": "check_child_processes_action check_child_processes_interval",
    },
    _PORT_MTU: {"DEFAULT": "network_device_mtu"},
    _NO_BACKDOOR: {"DEFAULT": "backdoor_port backdoor_socket"},
    _PRIVSEP: dict.fromkeys(_PRIVSEP_GROUPS, _PRIVSEP_NAMES),
    _EACH_SECOND: {"DEFAULT": "periodic_interval"},
    _BROKER: {
        "DEFAULT": "rpc_backend",
        "oslo_messaging_rabbit": "rabbit_host rabbit_port rabbit_hosts rabbit_userid rabbit_password "
        "rabbit_virtual_host",
    },
}

#: Groups of l3agent alone; no other program uses them.
_OWN_GROUPS = frozenset({"dataplane", "l3agent", "standalone"})

#: Values that disable an option, which equals its absence here.
_DISABLED_VALUES = frozenset({"", "false", "none", "0", "no", "off"})


#: The feature that the options of a reason request, named as in the metrics.
_FEATURES: Mapping[str, str] = {
    _HA: "ha",
    _RA: "router_advertisements",
    _PREFIXES: "prefix_delegation",
}
#: The feature of an extension of neutron-l3-agent (entry points ``neutron.agent.l3.extensions``).
_EXTENSION_FEATURES: Mapping[str, str] = {
    "conntrack_helper": "conntrack_helpers",
    "fip_qos": "qos",
    "gateway_ip_qos": "qos",
    "ndp_proxy": "ndp_proxy",
    "port_forwarding": "port_forwarding",
}


def requested_features(conf: Any) -> dict[str, list[str]]:
    """Return the features that the configuration requests and this agent does not serve, each with its options.

    An extension without an entry in the table is a feature by itself. ``agent_mode`` is not considered: any value other
    than ``legacy`` is an error.

    :param conf: the parsed options.
    """
    found: dict[str, list[str]] = {"metadata": ["enable_metadata_proxy"]} if conf.enable_metadata_proxy else {}
    values = _file_values(conf)
    for reason, feature in _FEATURES.items():
        if names := _ineffective_for(conf, values, reason):
            found[feature] = names
    for extension in values.get(("agent", "extensions"), "").replace(",", " ").split():
        feature = _EXTENSION_FEATURES.get(extension, extension)
        found.setdefault(feature, []).append(f"[AGENT] extensions: {extension}")
    return found


def ineffective_options(conf: Any) -> str:
    """Return the options of neutron-l3-agent that the files set and that have no effect, with the reasons, in one line.

    :param conf: the parsed options; a registered option has an effect, unless it belongs to another interface driver.
    :returns: empty if every option has an effect.
    """
    values = _file_values(conf)
    found = []
    for reason in _REASONS:
        if reason == _BROKER and legacy_transport_url(conf):
            continue
        if names := _ineffective_for(conf, values, reason):
            found.append(f"{', '.join(names)} ({reason})")
    return "; ".join(found)


def _ineffective_for(conf: Any, values: Mapping[tuple[str, str], str], reason: str) -> list[str]:
    """Return the options of a reason that the files set to a value that does not disable them."""
    return [
        name if group == "DEFAULT" else f"[{group}] {name}"
        for group, words in _REASONS[reason].items()
        for name in words.split()
        if not _has_effect(conf, reason, group, name)
        and values.get((group.lower(), name), "").lower() not in _DISABLED_VALUES
    ]


def reason_for(group: str, name: str) -> str | None:
    """Return why an option of neutron-l3-agent has no effect; None if it is not in the table."""
    for reason, groups in _REASONS.items():
        for other, words in groups.items():
            if other.lower() == group.lower() and name in words.split():
                return reason
    return None


def unknown_options(conf: Any) -> list[str]:
    """Return the options in the files that are probably misspelt, each with the most similar option.

    In the groups of l3agent every unknown option is returned. The other groups contain options of other programs, so
    only options whose name is similar to an option of l3agent are returned.

    :param conf: the parsed options, with those of the messaging library registered.
    """
    found = []
    sections = {"default": "DEFAULT"} | {name.lower(): name for name in _groups(conf)}
    for group, name in _file_values(conf):
        section = sections.get(group)
        if section is None or _is_registered(conf, section, name) or reason_for(section, name):
            continue
        ours = [opt.dest for opt in _own_options(section)]
        near = difflib.get_close_matches(name, ours, n=1, cutoff=0.85)
        if near:
            found.append(f"[{section}] {name}: no such option; did you mean {near[0]}?")
        elif section in _OWN_GROUPS:
            found.append(f"[{section}] {name}: no such option")
    return sorted(set(found))


def _groups(conf: Any) -> list[str]:
    return [name for name in conf if isinstance(conf[name], cfg.ConfigOpts.GroupAttr)]


def _own_options(section: str) -> list[Any]:
    return [opt for group, opts in list_opts() if (group or "DEFAULT") == section for opt in opts]


def legacy_transport_url(conf: Any) -> str | None:
    """Return the broker's URL composed of the options of old releases; None if the files do not set them.

    Source: the options of ``[oslo_messaging_rabbit]`` that ``transport_url`` replaced.
    """
    values = _file_values(conf)
    part = {name: value for (group, name), value in values.items() if group == "oslo_messaging_rabbit"}
    if ("default", "transport_url") in values or not part.keys() & {"rabbit_host", "rabbit_hosts"}:
        return None
    hosts = part.get("rabbit_hosts") or f"{part['rabbit_host']}:{part.get('rabbit_port', 5672)}"
    user = quote(part.get("rabbit_userid", "guest"), safe="")
    password = quote(part.get("rabbit_password", "guest"), safe="")
    nodes = ",".join(f"{user}:{password}@{host.strip()}" for host in hosts.split(","))
    virtual_host = part.get("rabbit_virtual_host", "/")
    return f"rabbit://{nodes}/{'' if virtual_host == '/' else quote(virtual_host, safe='')}"


def _has_effect(conf: Any, reason: str, group: str, name: str) -> bool:
    if reason == _OVS:
        return driver_name(conf.interface_driver) == "openvswitch"
    if reason == _EACH_SECOND:
        return bool(conf.periodic_interval < 1)
    return _is_registered(conf, group, name)


def _is_registered(conf: Any, group: str, name: str) -> bool:
    if group == "DEFAULT":
        return name in conf
    return group in conf and name in conf[group]


def _file_values(conf: Any) -> dict[tuple[str, str], str]:
    """Return the values in the configuration files by group and name; groups in lower case, later files override."""
    found: dict[tuple[str, str], str] = {}
    for path in configuration_files(conf):
        sections: dict[str, dict[str, list[str]]] = {}
        cfg.ConfigParser(str(path), sections).parse()
        for section, members in sections.items():
            found |= {(section.lower(), name): values[-1].strip() for name, values in members.items()}
    return found


def configuration_files(conf: Any) -> Iterable[Path]:
    """Yield the files from which options were read, with those of directories, in increasing precedence."""
    yield from map(Path, conf.config_file or [])
    for folder in conf.config_dir or []:
        yield from sorted(Path(folder).glob("*.conf"))
