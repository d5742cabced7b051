# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest

from l3agent.dataplane.programs.program import (
    Difference,
    Program,
    ReadinessCheck,
    StopSequence,
    arguments,
    difference,
    fingerprint,
    from_json,
    to_json,
)

RADVD = Program(
    "radvd",
    ("router", "1"),
    ("radvd", "-n", "-C", "{directory}/radvd.conf", "-p", "{directory}/pid"),
    namespace="qrouter-1",
    files={"radvd.conf": "interface qr-1 {};"},
    reload=signal.SIGHUP,
    stop=StopSequence(seconds=2.0),
    ready=ReadinessCheck(pid_file=True),
    pid_files=("pid",),
)


@pytest.mark.parametrize(
    ("desired", "observed", "expected"),
    [
        (None, None, Difference.NOTHING),
        (RADVD, None, Difference.START),
        (None, RADVD, Difference.STOP),
        (RADVD, RADVD, Difference.NOTHING),
        (replace(RADVD, files={"radvd.conf": ""}), RADVD, Difference.RELOAD),
        (replace(RADVD, files={}, reload=None), replace(RADVD, reload=None), Difference.RESTART),
        (replace(RADVD, argv=(*RADVD.argv, "-d")), RADVD, Difference.RESTART),
        (replace(RADVD, namespace="qrouter-2"), RADVD, Difference.RESTART),
        (replace(RADVD, user="nobody"), RADVD, Difference.RESTART),
        (replace(RADVD, stop=StopSequence(), ready=ReadinessCheck()), RADVD, Difference.NOTHING),
    ],
)
def test_difference(desired: Program | None, observed: Program | None, expected: Difference) -> None:
    assert difference(desired, None if observed is None else fingerprint(observed)) is expected


def test_the_directory_replaces_its_placeholder() -> None:
    assert arguments(RADVD, "/run/x")[2:] == ["-C", "/run/x/radvd.conf", "-p", "/run/x/pid"]
    assert RADVD.label == "radvd@router-1" and replace(RADVD, owner=None).label == "radvd"


def test_a_record_has_all_but_the_contents() -> None:
    wire = json.loads(json.dumps(to_json(RADVD)))
    assert "interface" not in json.dumps(wire)
    assert from_json(wire, RADVD.files) == RADVD
    node = replace(RADVD, owner=None)
    assert from_json(json.loads(json.dumps(to_json(node))), RADVD.files) == node


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../radvd"},
        {"name": ""},
        {"owner": ("router", "1/2")},
        {"owner": ("router", ".")},
        {"files": {"a/b": ""}},
        {"files": {".record": ""}},
        {"pid_files": ("../pid",)},
        {"argv": ("radvd", "-n")},
        {"pid_files": ()},
    ],
)
def test_a_name_that_leads_elsewhere_is_an_error(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(RADVD, **change)  # type: ignore[arg-type]
