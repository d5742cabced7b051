# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from l3agent.model.haproxy import MetadataProxy, RateLimit, Timeouts, haproxy_configuration

PROXY = MetadataProxy("/run/l3agent/metadata/haproxy.sock", "/var/lib/neutron/metadata_proxy")
LIMIT = RateLimit((4,), base_window=20, base_requests=7, burst_window=5, burst_requests=3)
VARIANTS = {
    "plain": PROXY,
    "limited": replace(PROXY, rate_limit=LIMIT),
    "both families": replace(PROXY, rate_limit=replace(LIMIT, ip_versions=(6, 4))),
    "stdout": replace(PROXY, log="stdout"),
    "quoted": replace(PROXY, listen="/run/a b/h#.sock", agent='/run/$HOME/"x"\\y'),
}


def rules(proxy: MetadataProxy = PROXY) -> list[str]:
    return [line.strip() for line in haproxy_configuration(proxy).splitlines() if line.strip()]


@pytest.mark.parametrize("name", VARIANTS)
def test_haproxy_accepts_the_configuration(name: str, tmp_path: Path) -> None:
    if shutil.which("haproxy") is None:
        pytest.skip("haproxy is not installed (tests/install-debian-packages.sh installs it)")
    path = tmp_path / "haproxy.conf"
    path.write_text(haproxy_configuration(VARIANTS[name]))
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


def test_the_sockets_are_quoted() -> None:
    bind = next(line for line in rules(VARIANTS["quoted"]) if line.startswith("bind"))
    assert bind.startswith("bind unix@'/run/a b/h#.sock' mode 600 accept-proxy")
    for path in ("/run/a\nb", "/run/it's"):
        with pytest.raises(ValueError, match="printable, without quotes"):
            haproxy_configuration(replace(PROXY, listen=path))


def test_the_identity_is_checked_before_it_is_used() -> None:
    lines = rules()
    first_use = next(number for number, line in enumerate(lines) if "set-header X-Neutron-Router-ID" in line)
    assert lines.index("http-request deny deny_status 403 unless has_router") < first_use
    pattern = next(line for line in lines if line.startswith("acl has_router")).split()[-1]
    assert re.match(pattern, "e3aad189-6228-41b6-a9c9-1d2c00833235")
    for invalid in (
        "",
        "x" * 36,
        "e3aad189-6228-41b6-a9c9-1d2c00833235 ",
        "e3aad189-6228-41b6-a9c9-1d2c00833235\r\nX: y",
    ):
        assert re.match(pattern, invalid) is None


def test_headers_of_the_tenant_are_removed_before_ours_are_set_and_the_size_is_checked() -> None:
    lines = rules()
    removed = [number for number, line in enumerate(lines) if "del-header" in line]
    added = [number for number, line in enumerate(lines) if "set-header" in line]
    checked = next(number for number, line in enumerate(lines) if "var(txn.size) -m int gt 4096" in line)
    assert max(removed) < min(added) <= max(added) < checked
    assert len(added) == 2


def test_timeouts_and_limits_are_those_of_the_options() -> None:
    lines = rules(replace(PROXY, timeouts=Timeouts(1, 2, 3, 4, 5), connections=800, agent_requests=9))
    assert {
        "timeout connect 1s",
        "timeout queue 1s",
        "timeout client 2s",
        "timeout server 3s",
        "timeout http-request 4s",
        "timeout http-keep-alive 5s",
        "http-request wait-for-body time 4s",
        "maxconn 916",
        "server metadata unix@/var/lib/neutron/metadata_proxy maxconn 9",
    } <= set(lines)


def test_the_rate_limit_has_a_window_and_a_number_each() -> None:
    lines = rules(VARIANTS["limited"])
    assert "stick-table type string len 82 size 100000 expire 20s store http_req_rate(20s)" in lines
    assert "stick-table type string len 82 size 100000 expire 20s store http_req_rate(5s)" in lines
    assert "http-request track-sc0 var(txn.client) table base_rate if { src 0.0.0.0/0 }" in lines
    assert "http-request deny deny_status 429 if { sc0_http_req_rate(base_rate) gt 7 }" in lines
    assert "http-request deny deny_status 429 if { sc1_http_req_rate(burst_rate) gt 3 }" in lines
    both = rules(VARIANTS["both families"])
    assert "http-request track-sc1 var(txn.client) table burst_rate if { src 0.0.0.0/0 ::/0 }" in both
    assert not any("track-sc0" in line or "429" in line for line in rules())
