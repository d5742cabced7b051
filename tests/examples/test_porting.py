# SPDX-License-Identifier: Apache-2.0
"""An agent in Neutron's style, ported by changing two import lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import eventlet
from oslo_config import cfg

from l3agent.rpc import Client, admin_context, get_transport
from tests.support.rabbit import Rabbit

SKELETON = Path(__file__).with_name("dhcp_agent") / "agent.py.neutron"
CHANGED = {
    "from neutron import manager, service as neutron_service": (
        "from l3agent.service import manager, service as neutron_service"
    ),
    "from oslo_service import service": "from l3agent import service",
}


def test_a_dhcp_agent_runs_with_two_import_lines_changed(rabbit: Rabbit, tmp_path: Path) -> None:
    lines = SKELETON.read_text().splitlines()
    assert all(lines.count(line) == 1 for line in CHANGED)
    (tmp_path / "agent.py").write_text("\n".join(CHANGED.get(line, line) for line in lines) + "\n")
    (tmp_path / "conf").write_text(f"[DEFAULT]\ntransport_url = {rabbit.url}\n")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "agent.py", "--config-file", "conf"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    conf = cfg.ConfigOpts()
    conf([], default_config_files=[])
    transport = get_transport(conf, rabbit.url)
    try:
        assert process.stdout is not None
        with eventlet.Timeout(60):
            lines = [process.stdout.readline().strip() for _ in range(4)]
            assert lines[0] == "manager on node1, conf is a ConfigOpts"
            assert "intervals 0.5 7.0 5" in lines
            while "periodic_resync" not in lines or "DHCP agent started" not in lines or lines.count("report") < 2:
                lines.append(process.stdout.readline().strip())
            client = Client(transport, "dhcp_agent", timeout=30)
            port = {"port": {"id": "p", "network_id": "n"}}
            assert client.call(admin_context(), "port_update_end", server="node1", payload=port) == {"n": 1}
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 0
    finally:
        process.kill()
        process.communicate()
        transport.cleanup()
