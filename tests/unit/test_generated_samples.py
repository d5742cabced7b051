# SPDX-License-Identifier: Apache-2.0
"""What is generated is no older than what it is generated from."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest
from oslo_config import cfg

from l3agent.conf import list_opts, register_opts

ROOT = Path(__file__).parents[2]
INPUT = ROOT / "etc" / "oslo-config-generator" / "l3_agent.conf"
SAMPLE = ROOT / "etc" / "l3agent" / "l3_agent.conf.sample"


@pytest.mark.feature("operation.samples")
def test_the_sample_of_all_options_is_up_to_date(tmp_path: Path) -> None:
    fresh = tmp_path / "sample"
    generator = Path(sysconfig.get_path("scripts")) / "oslo-config-generator"
    argv = [str(generator), "--config-file", str(INPUT), "--output-file", str(fresh)]
    subprocess.run(argv, cwd=ROOT, capture_output=True, check=True)
    assert SAMPLE.read_text() == fresh.read_text(), f"run oslo-config-generator --config-file {INPUT.relative_to(ROOT)}"


def test_it_names_every_option_and_can_be_read_as_a_configuration(tmp_path: Path) -> None:
    text = SAMPLE.read_text()
    missing = [opt.name for _, opts in list_opts() for opt in opts if f"\n#{opt.name} =" not in text]
    assert missing == []
    # Groups are in small letters there, and mean the same.
    changed = tmp_path / "changed.conf"
    changed.write_text(text.replace("#report_interval = 30", "report_interval = 7"))
    conf = cfg.ConfigOpts()
    register_opts(conf)
    conf(["--config-file", str(changed)])
    assert conf.AGENT.report_interval == 7
