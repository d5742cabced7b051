# SPDX-License-Identifier: Apache-2.0
"""Work that a node does once runs in one worker of a service."""

from __future__ import annotations

import uuid
from typing import Any

import eventlet
import pytest
from oslo_config import cfg
from oslo_service import periodic_task

from l3agent.rpc import get_transport
from l3agent.service import Manager, Service, worker
from l3agent.testing import running, wait_until


class Counting(Manager):
    def __init__(self, conf: cfg.ConfigOpts, host: str) -> None:
        super().__init__(conf, host)
        self.calls: list[str] = []

    def report_state(self) -> None:
        self.calls.append("report")

    @periodic_task.periodic_task(spacing=1, run_immediately=True)
    def task(self, context: Any) -> None:
        self.calls.append("task")


def _service() -> Service:
    conf = cfg.ConfigOpts()
    conf([])
    transport = get_transport(conf, f"local:///{uuid.uuid4()}")
    settings: dict[str, Any] = {"report_interval": 0.05, "periodic_interval": 0.05, "periodic_fuzzy_delay": 0}
    return Service.create(binary="counting", manager=Counting, conf=conf, host="h", transport=transport, **settings)


def test_the_first_worker_reports_and_runs_the_periodic_tasks() -> None:
    service = _service()
    with running(service):
        wait_until(lambda: {"report", "task"} <= set(service.manager.calls))


def test_another_worker_does_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_index", 1)
    service = _service()
    with running(service):
        eventlet.sleep(0.5)
    assert service.manager.calls == []
