# SPDX-License-Identifier: Apache-2.0
"""Files of a real deployment, as they are: every option of neutron-l3-agent has an effect, or a reason is told."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from l3agent.cmd.neutron_options import ineffective_options, legacy_transport_url, reason_for, unknown_options
from l3agent.cmd.startup import load_config
from l3agent.conf import list_opts
from l3agent.exceptions import ConfigError
from l3agent.rpc import Client, get_transport
from l3agent.service import Service

#: What neutron-l3-agent takes, of Mitaka and of 2026.2; options of libraries that are in use here are theirs.
L3_AGENT_OPTIONS = {
    "DEFAULT": """
        agent_mode interface_driver metadata_port enable_metadata_proxy metadata_access_mark external_ingress_mark
        handle_internal_only_routers ipv6_gateway radvd_user cleanup_on_shutdown per_router_log_files
        router_log_files_in_ha_confs send_arp_for_ha router_id gateway_external_network_id external_network_bridge
        prefix_delegation_driver pd_dhcp_driver pd_confs vendor_pen ha_confs_path ha_vrrp_auth_type
        ha_vrrp_auth_password ha_vrrp_advert_int ha_vrrp_health_check_interval
        ha_keepalived_state_change_server_threads ha_conntrackd_enabled ha_conntrackd_hashsize
        ha_conntrackd_hashlimit ha_conntrackd_unix_backlog ha_conntrackd_socketbuffersize
        ha_conntrackd_socketbuffersize_max_grown ha_conntrackd_ipv4_mcast_addr ha_conntrackd_group
        ha_conntrackd_sndsocketbuffer ha_conntrackd_rcvsocketbuffer metadata_proxy_socket metadata_proxy_user
        metadata_proxy_group metadata_proxy_watch_log ra_confs min_rtr_adv_interval max_rtr_adv_interval external_pids
        ovs_use_veth ovs_integration_bridge network_device_mtu ip_lib_force_root host state_path periodic_interval
        periodic_fuzzy_delay rpc_response_timeout rpc_response_max_timeout control_exchange transport_url rpc_backend
        debug log_file log_dir use_syslog backdoor_port backdoor_socket log_options graceful_shutdown_timeout
    """,
    "metadata_rate_limiting": """
        rate_limit_enabled ip_versions base_window_duration base_query_rate_limit burst_window_duration
        burst_query_rate_limit
    """,
    "metadata_haproxy": """
        timeout_connect timeout_client timeout_server timeout_http_request timeout_http_keep_alive
    """,
    "OVS": """
        integration_bridge datapath_type ovsdb_connection ovsdb_timeout ssl_key_file ssl_cert_file ssl_ca_cert_file
        ovsdb_debug
    """,
    "AGENT": """
        report_interval log_agent_heartbeats availability_zone root_helper root_helper_daemon use_helper_for_ns_read
        comment_iptables_rules debug_iptables_rules use_random_fully check_child_processes_action
        check_child_processes_interval kill_scripts_path extensions
    """,
    "oslo_concurrency": "lock_path",
    "privsep": "user group capabilities helper_command thread_pool_size logger_name",
    "privsep_namespace": "user group capabilities helper_command thread_pool_size logger_name",
    "privsep_link": "user group capabilities helper_command thread_pool_size logger_name",
    "privsep_conntrack": "user group capabilities helper_command thread_pool_size logger_name",
    "privsep_ovs_vsctl": "user group capabilities helper_command thread_pool_size logger_name",
    "privsep_dhcp_release": "user group capabilities helper_command thread_pool_size logger_name",
}

MITAKA = """
[DEFAULT]
rpc_backend = rabbit
interface_driver = bridge
external_network_bridge = br-ex
router_id =
metadata_proxy_shared_secret = of another program
nova_metadata_ip = 192.0.2.9

[oslo_messaging_rabbit]
rabbit_hosts = 192.0.2.1:5672, 192.0.2.2:5673
rabbit_userid = openstack
rabbit_password = a/b@c
"""


@pytest.fixture
def conf_of(tmp_path: Path) -> Callable[..., cfg.ConfigOpts]:
    def parse(*texts: str) -> cfg.ConfigOpts:
        arguments = []
        for number, text in enumerate(texts):
            path = tmp_path / f"{number}.ini"
            path.write_text(text)
            arguments += ["--config-file", str(path)]
        return load_config(arguments, prog="l3-agent")

    return parse


@pytest.mark.feature("process.options")
def test_every_option_of_neutrons_agent_has_an_effect_or_a_reason(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    conf = conf_of("")
    get_transport(conf, "local:///options")
    Service.create(
        binary="neutron-l3-agent", topic="l3_agent", conf=conf, manager=lambda conf, host: object(), host="node1"
    )
    unknown = [
        f"[{group}] {name}"
        for group, names in L3_AGENT_OPTIONS.items()
        for name in names.split()
        if not (name in conf if group == "DEFAULT" else group in conf and name in conf[group])
        and reason_for(group, name) is None
    ]
    # Made known to oslo.config by the first client that is made.
    assert unknown == ["[DEFAULT] rpc_response_timeout"]


@pytest.mark.feature("process.options")
def test_options_without_effect_are_named_in_one_line_with_the_reason(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    said = ineffective_options(
        conf_of(
            "[DEFAULT]\nha_vrrp_advert_int = 2\nmetadata_port = 9697\nhost = node1\nsome_option_of_the_server = 1\n",
            "[agent]\nextensions = port_forwarding\n[privsep]\nthread_pool_size = 8\n",
        )
    )
    assert "\n" not in said
    assert "ha_vrrp_advert_int (HA routers are not built)" in said
    assert "metadata_port (there is no metadata proxy)" in said
    assert "[AGENT] extensions (there are no agent extensions)" in said
    assert "[privsep] thread_pool_size" in said
    assert "host" not in said
    assert "some_option" not in said


def test_the_interval_of_periodic_tasks_has_an_effect_below_that_of_the_only_task(
    conf_of: Callable[..., cfg.ConfigOpts],
) -> None:
    assert "periodic_interval (" in ineffective_options(conf_of("[DEFAULT]\nperiodic_interval = 40\n"))
    assert ineffective_options(conf_of("[DEFAULT]\nperiodic_interval = 0.5\n")) == ""


def test_what_asks_for_nothing_is_not_named(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    assert (
        ineffective_options(conf_of("[DEFAULT]\nenable_metadata_proxy = False\nrouter_id =\n[agent]\nextensions =\n"))
        == ""
    )


def test_both_spellings_of_the_agents_group_are_one(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    conf = conf_of("[agent]\nreport_interval = 7\n", "[AGENT]\navailability_zone = az9\n")
    assert (conf.AGENT.report_interval, conf.AGENT.availability_zone) == (7, "az9")


def test_files_of_mitaka_lead_to_the_broker(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    conf = conf_of(MITAKA)
    url = legacy_transport_url(conf)
    assert url == "rabbit://openstack:a%2Fb%40c@192.0.2.1:5672,openstack:a%2Fb%40c@192.0.2.2:5673/"
    said = ineffective_options(conf)
    assert "external_network_bridge" in said
    assert "rabbit_hosts" not in said


@pytest.mark.parametrize("name", ["openvswitch", "neutron.agent.linux.interface.OVSInterfaceDriver"])
def test_options_of_open_vswitch_have_an_effect_where_it_is_in_use(
    conf_of: Callable[..., cfg.ConfigOpts], name: str
) -> None:
    of_old = "[DEFAULT]\nexternal_network_bridge = br-ex\novs_integration_bridge = br-i\novs_use_veth = True\n"
    conf = conf_of(of_old + f"interface_driver = {name}\n", "[ovs]\novsdb_connection = unix:/db\n")
    assert ineffective_options(conf) == ""
    assert (conf.OVS.integration_bridge, conf.OVS.ovsdb_connection) == ("br-i", "unix:/db")
    said = ineffective_options(conf_of(of_old + "interface_driver = linuxbridge\n"))
    assert said == (
        "external_network_bridge, ovs_use_veth, ovs_integration_bridge (another interface driver is in use)"
    )


@pytest.mark.parametrize("remote", ["127.0.0.1:6640", "ptcp:6640", ""])
def test_a_place_of_the_database_that_is_none_is_refused(conf_of: Callable[..., cfg.ConfigOpts], remote: str) -> None:
    with pytest.raises(ConfigError, match=r"ovsdb_connection: .*expected tcp:IP:PORT"):
        conf_of(f"[ovs]\novsdb_connection = {remote}\n")


def test_a_transport_url_goes_before_the_parts_of_old_files(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    assert legacy_transport_url(conf_of(MITAKA, "[DEFAULT]\ntransport_url = rabbit://192.0.2.7/\n")) is None
    assert legacy_transport_url(conf_of("")) is None


@pytest.mark.parametrize("mode", ["dvr", "dvr_snat", "dvr_no_external"])
def test_modes_of_distributed_routers_are_refused_by_name(conf_of: Callable[..., cfg.ConfigOpts], mode: str) -> None:
    with pytest.raises(ConfigError, match=f"agent_mode: {mode}: distributed routers are not built"):
        conf_of(f"[DEFAULT]\nagent_mode = {mode}\n")


def test_the_server_keeps_the_row_of_the_agent_for_the_host_name_is_that_of_neutrons_agents(
    conf_of: Callable[..., cfg.ConfigOpts],
) -> None:
    assert conf_of("").host == socket.gethostname()
    assert conf_of("[DEFAULT]\nhost = node1.example.org\n").host == "node1.example.org"


#: Options of other programs of Neutron, of files that all of them share, which sound like ours.
OTHERS = """[DEFAULT]
l3_ha = true
api_workers = 2
rpc_workers = 2
periodic_workers = 1
interface_drivers = x
agent_down_time = 75
[agent]
tunnel_types = vxlan
l2_population = true
[ml2]
type_drivers = vxlan
"""


def test_of_neutrons_own_options_none_is_taken_for_a_mistake(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    listed = (
        f"[{group}]\n" + "".join(f"{name} = \n" for name in names.split()) for group, names in L3_AGENT_OPTIONS.items()
    )
    wrong = [line for text in listed for line in unknown_options(_registered(conf_of(_without_values_of_ours(text))))]
    assert wrong == []
    assert unknown_options(_registered(conf_of(OTHERS.replace("interface_drivers = x\n", "")))) == []


def test_what_looks_like_an_option_of_ours_is(conf_of: Callable[..., cfg.ConfigOpts]) -> None:
    found = unknown_options(_registered(conf_of(OTHERS, "[agent]\nreport_intervall = 3\n[dataplane]\npol_size = 1\n")))
    assert found == [
        "[AGENT] report_intervall: no such option; did you mean report_interval?",
        "[DEFAULT] interface_drivers: no such option; did you mean interface_driver?",
        "[dataplane] pol_size: no such option; did you mean pool_size?",
    ]


def _registered(conf: cfg.ConfigOpts) -> Any:
    """Return the options with those that a client of the broker brings."""
    Client(get_transport(conf, "local:///neutron-options"), "topic", timeout=1)
    return conf


def _without_values_of_ours(text: str) -> str:
    """Leave out what we would read and refuse to be empty."""
    ours = {opt.dest for _, opts in list_opts() for opt in opts} | {"debug", "use_syslog", "log_options"}
    return "\n".join(line for line in text.splitlines() if line.partition(" ")[0] not in ours)
