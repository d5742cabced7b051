# SPDX-License-Identifier: Apache-2.0
"""What ``l3-agentctl check`` asks a server over a real broker: only calls without side effects."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from eventlet.green import subprocess

from tests.support.neutron_server import NeutronServer
from tests.support.payloads import a_router
from tests.support.rabbit import Rabbit


class RecordingServer(NeutronServer):
    """A server that has every method, so that none is called without a record."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda context, **arguments: self._take(name, context, arguments)

    def get_service_plugin_list(self, context: Mapping[str, Any], **arguments: Any) -> list[str]:
        self._take("get_service_plugin_list", context, arguments)
        return ["CORE", "L3_ROUTER_NAT", "PORTFORWARDING", "QOS"]

    def get_host_ha_router_count(self, context: Mapping[str, Any], **arguments: Any) -> int:
        self._take("get_host_ha_router_count", context, arguments)
        return 2


@pytest.mark.feature("operation.unserved-features")
def test_check_names_unserved_features_and_calls_nothing_that_schedules_or_binds(rabbit: Rabbit, folder: Path) -> None:
    server = RecordingServer(rabbit.url, "node1", [a_router()])
    server.start()
    try:
        path = folder / "agent.conf"
        path.write_text(
            f"[DEFAULT]\nhost = node1\nstate_path = {folder}\ntransport_url = {rabbit.url}\nha_vrrp_advert_int = 2\n"
            "interface_driver = bridge\n[agent]\nextensions = port_forwarding, fip_qos, fwaas_v2\n"
        )
        argv = [sys.executable, "-m", "l3agent.cli.main", "check", "--json", f"--config-file={path}"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    finally:
        server.stop()
    found = {one["what"]: one for one in json.loads(done.stdout)}
    assert found["server"]["state"] == "ok", found
    assert {method for method, _ in server.calls} == {"get_service_plugin_list", "get_host_ha_router_count"}
    features = {what.removeprefix("feature: "): one for what, one in found.items() if what.startswith("feature: ")}
    assert {one["state"] for one in features.values()} == {"note"}
    assert features.keys() == {"fwaas_v2", "ha", "metadata", "port_forwarding", "qos"}
    expected = {
        "ha": ("ha_vrrp_advert_int", "2 HA routers"),
        "metadata": ("enable_metadata_proxy",),
        "port_forwarding": ("[AGENT] extensions: port_forwarding", "PORTFORWARDING"),
        "qos": ("[AGENT] extensions: fip_qos", "QOS"),
    }
    for feature, words in expected.items():
        assert all(word in features[feature]["text"] for word in words), features[feature]
