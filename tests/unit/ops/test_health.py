# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from l3agent.testing import running, wait_until
from tests.support.payloads import a_router
from tests.unit.ops.conftest import Site

R1 = "cffffff1-0000-4000-8000-000000000000"


class Sick:
    binary = "sick"

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def wait(self) -> None: ...
    def reset(self) -> None: ...
    def healthy(self) -> bool:
        return False


def test_a_healthy_agent_that_serves_is_both(site: Site) -> None:
    for path in ("/healthz", "/readyz"):
        answer = site.get(path)
        assert (answer.status, answer.text) == (200, "ok\n")


@pytest.mark.feature("process.readiness")
def test_each_reason_to_restart_is_named(site: Site) -> None:
    site.lag = 2.5
    site.services.services += [Sick(), site.service]
    site.dataplane.delay = 3.0
    site.plugin.routers = {R1: a_router(id=R1)}
    site.agent.routers_updated(None, [R1])
    wait_until(lambda: site.agent.in_flight.ages())
    site.agent.in_flight.limit = -1.0
    wait_until(site.agent.stuck)
    answer = site.get("/healthz")
    assert answer.status == 503
    hub, worker, service = answer.text.splitlines()
    assert hub == "hub: lag of 2.5 s"
    assert worker.startswith(f"router {R1}: its worker is busy for")
    assert service == "service sick: not healthy"
    assert site.get("/readyz").status == 200


@pytest.mark.feature("process.readiness")
def test_what_is_missing_to_serve_is_named_and_no_reason_to_restart(tmp_path: Path) -> None:
    site = Site(tmp_path, "alone")
    site.dataplane.connected, site.dataplane.reason = False, "nothing listens"
    with running(site.http):
        answer = site.get("/readyz")
        assert answer.status == 503
        assert answer.text.splitlines() == [
            "broker: not connected",
            "full sync: none has completed yet",
            "data plane: not connected: nothing listens",
        ]
        assert site.get("/healthz").status == 200
        site.dataplane.connected = True
        with running(site.plugin, site.service):
            wait_until(lambda: site.get("/readyz").status == 200)
        assert site.get("/readyz").text == "broker: not connected\n"


def test_the_loop_that_starts_workers_is_watched(site: Site) -> None:
    assert site.agent.healthy()
    site.agent._greenthreads[0].kill()
    wait_until(lambda: not site.agent.healthy())
    assert "the loop that starts workers has ended" in site.get("/healthz").text


@pytest.mark.parametrize("path", ["/status.json", "/history.json", "/topology.json"])
def test_pages_for_programs_are_json(site: Site, path: str) -> None:
    assert site.get(path).headers["Content-Type"] == "application/json"
