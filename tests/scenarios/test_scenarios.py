# SPDX-License-Identifier: Apache-2.0
"""From payload to plan: each folder beside this file is one case.

``payload.json`` is what the server says; ``before.json``, where there is one, what it said before, so that the kernel
holds that; ``plan.txt`` the commands that lead from one to the other, in order; ``driver.txt`` names the interface
driver when it is not ``bridge``. ``pytest --update-golden`` writes the
plans anew: read the difference before you commit it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from l3agent.dataplane.plan.commands import commands
from l3agent.dataplane.plan.diff import diff
from l3agent.dataplane.plan.drivers import load_driver
from l3agent.dataplane.plan.kinds.base import Entry
from l3agent.dataplane.plan.kinds.bridge import Bridge
from l3agent.dataplane.plan.render import entries
from l3agent.model.desired import desired_state
from l3agent.model.names import namespace_name
from tests.support.states import only_namespace

FOLDER = Path(__file__).parent
SCENARIOS = sorted(path.parent for path in FOLDER.glob("*/payload.json"))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda folder: folder.name)
def test_a_payload_gives_this_plan(scenario: Path, request: pytest.FixtureRequest) -> None:
    found = plan(scenario)
    golden = scenario / "plan.txt"
    if request.config.getoption("update_golden"):
        golden.write_text(found)
    assert found == golden.read_text()


def plan(scenario: Path) -> str:
    """Return the plan of a scenario as text; what it left out comes first."""
    chosen = scenario / "driver.txt"
    driver = chosen.read_text().strip() if chosen.exists() else "bridge"
    router_id, after, notes = read(scenario / "payload.json", driver)
    before = seen(scenario / "before.json", driver, after) if (scenario / "before.json").exists() else frozenset()
    namespace = namespace_name("router", router_id)
    lines = [line for one in diff(after, before).operations for line in commands(one, namespace)]
    return "".join(f"{line}\n" for line in [*(f"# {note}" for note in notes), *lines])


def seen(path: Path, driver: str, wanted: frozenset[Entry]) -> frozenset[Entry]:
    """Return what would be observed; of bridges, those that are wanted: the others may be somebody else's."""
    return frozenset(entry for entry in read(path, driver)[1] if not isinstance(entry, Bridge) or entry in wanted)


def read(path: Path, driver: str) -> tuple[str, frozenset[Entry], tuple[str, ...]]:
    """Return the id of the router of a payload, what the kernel should hold for it, and the notes."""
    (router,) = json.loads(path.read_text())
    state = desired_state(router)
    namespace = only_namespace(state)
    return state.id, entries(namespace.key, namespace, load_driver(driver)), state.warnings
