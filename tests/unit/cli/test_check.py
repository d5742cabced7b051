# SPDX-License-Identifier: Apache-2.0
"""``l3-agentctl check`` of this machine, a configuration and a broker. Without root: tests/functional/test_demo.py."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from l3agent.cli import findings, main
from l3agent.cmd.neutron_options import requested_features
from l3agent.cmd.startup import load_config
from l3agent.demo.samples import sample


def checked(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Return the exit status and the findings by subject."""
    status = main.main(["check", "--json", *arguments])
    found = json.loads(capsys.readouterr().out)
    return status, {one["what"]: one for one in found}


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        path = tmp_path / "agent.conf"
        path.write_text(f"[DEFAULT]\nstate_path = {tmp_path}\n{text}")
        return f"--config-file={path}"

    return write


@pytest.mark.kernel
def test_the_host_alone_needs_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    status, found = checked(capsys, "--host")
    assert status == 0
    works = [what for what, one in found.items() if what.startswith("kernel: ") and one["state"] == "ok"]
    assert len(works) == 7
    assert "limit: descriptors" in found and "tool: nft" in found
    assert not {"configuration", "broker", "server"} & found.keys()


def test_an_agent_with_a_topology_file_needs_no_broker(capsys: pytest.CaptureFixture[str], written: Any) -> None:
    _, found = checked(capsys, written(f"[standalone]\ntopology = {sample('topology.yaml')}\n"))
    assert found["configuration"]["state"] == found["state_path"]["state"] == "ok"
    assert found["topology"]["text"].endswith("3 routers, 6 hosts")
    assert found["broker and server"]["state"] == "ok"


def test_a_database_of_open_vswitch_that_does_not_listen_is_named(
    capsys: pytest.CaptureFixture[str], written: Any
) -> None:
    _, found = checked(capsys, written("interface_driver = openvswitch\n[ovs]\novsdb_connection = unix:/nonexistent\n"))
    assert (found["Open vSwitch"]["state"], found["Open vSwitch"]["exit_status"]) == ("fail", 69)
    assert "unix:/nonexistent" in found["Open vSwitch"]["text"]


@pytest.mark.parametrize(
    ("text", "what", "words"),
    [
        ("agent_mode = dvr\n", "configuration", "distributed"),
        ("[l3agent]\nrouter_workers = many\n", "configuration", "router_workers"),
        ("transport_url = carrier-pigeon://host\n", "transport_url", "carrier-pigeon"),
        ("[standalone]\ntopology = /nonexistent.yaml\n", "topology", "/nonexistent.yaml"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(
    capsys: pytest.CaptureFixture[str], written: Any, text: str, what: str, words: str
) -> None:
    status, found = checked(capsys, written(text))
    assert (status, found[what]["state"], found[what]["exit_status"]) == (1, "fail", 78)
    assert words in found[what]["text"]


@pytest.mark.feature("operation.check")
def test_options_written_wrong_are_found_and_those_of_other_programs_are_not(
    capsys: pytest.CaptureFixture[str], written: Any
) -> None:
    text = """transport_url = local:///here
stat_path = /x
l3_ha = true
ha_confs_path = /y
rpc_response_timeout = 30
log_dir = /tmp
use_stderr = true
[oslo_messaging_rabbit]
heartbeat_rate = 3
[l3agent]
router_worker = 3
anything = 1
[ml2]
type_drivers = vxlan
"""
    assert main.main(["check", "--json", written(text)]) == 1
    found = [one for one in json.loads(capsys.readouterr().out) if one["what"].startswith("option")]
    assert [one["text"] for one in found] == [
        "[DEFAULT] stat_path: no such option; did you mean state_path?",
        "[l3agent] anything: no such option",
        "[l3agent] router_worker: no such option; did you mean router_workers?",
        "ha_confs_path (HA routers are not built)",
    ]


def test_an_absent_broker_fails_and_its_password_is_not_printed(
    capsys: pytest.CaptureFixture[str], written: Any
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"rabbit://guest:geheim@127.0.0.1:{free.getsockname()[1]}/"
        status, found = checked(capsys, written(f"transport_url = {url}\n"))
    assert (status, found["broker"]["state"], found["broker"]["exit_status"]) == (1, "fail", 69)
    assert found["server"]["state"] == "unknown"
    assert "geheim" not in json.dumps(found)


def test_features_that_the_configuration_asks_for_and_that_are_not_served_are_named(
    capsys: pytest.CaptureFixture[str], written: Any
) -> None:
    topology = f"[standalone]\ntopology = {sample('topology.yaml')}\n"
    _, found = checked(capsys, written(topology))
    assert found["features"]["state"] == "ok"
    _, found = checked(capsys, written(f"min_rtr_adv_interval = 5\n[agent]\nextensions = ndp_proxy\n{topology}"))
    assert {what for what in found if what.startswith("feature")} == {
        "feature: ndp_proxy",
        "feature: router_advertisements",
    }
    assert "min_rtr_adv_interval" in found["feature: router_advertisements"]["text"]
    assert requested_features(load_config([written("enable_metadata_proxy = False\n")], prog="l3-agent")) == {}


def test_a_folder_is_judged_by_who_asks(tmp_path: Path) -> None:
    assert findings.check_state_path(str(tmp_path)).state == "ok"
    assert findings.check_state_path(str(tmp_path / "new" / "deep")).text.endswith("will be created")
    (tmp_path / "file").touch()
    assert findings.check_state_path(str(tmp_path / "file")).exit_status == 78
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    assert "too long" in findings.check_state_path(str(deep)).text


def test_the_start_of_the_data_plane_is_checked(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "dp.sock")
    assert findings.check_dataplane(nowhere, spawn=False, root_helper="", program=["l3-dataplane"]).exit_status == 69
    (tmp_path / "dp.sock").touch()
    assert findings.check_dataplane(nowhere, spawn=False, root_helper="", program=["l3-dataplane"]).state == "ok"


def test_a_root_helper_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    helper = tmp_path / "helper"
    program = [sys.executable, "-m", "l3agent.cmd.dataplane"]

    def tried(script: str) -> findings.Finding:
        helper.write_text(f"#!/bin/sh\n{script}\n")
        helper.chmod(0o755)
        return findings.check_dataplane(str(tmp_path / "s"), spawn=True, root_helper=f"{helper} conf", program=program)

    rejected = tried("echo Unauthorized command: $* >&2; exit 99")
    assert (rejected.state, rejected.exit_status) == ("fail", 77)
    assert "exit status 99: Unauthorized command: conf " in rejected.text and "--version" in rejected.text
    assert tried('shift; exec "$@"').state == "ok"


def test_each_trial_of_the_kernel_that_fails_is_a_failure_with_advice() -> None:
    trials = [
        ("bridges", "ok", "works"),
        ("deletion of conntrack entries", "note", "no filter"),
        ("veth pairs", "fail", "Operation not supported; `modprobe veth`"),
    ]
    good, noted, bad = findings.kernel_findings(trials)
    assert (good.state, noted.state, bad.state) == ("ok", "note", "fail")
    assert (good.exit_status, noted.exit_status, bad.exit_status) == (0, 0, 1)
    assert "modprobe veth" in bad.text
