# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from oslo_config import cfg
from oslo_log import log as logging

from l3agent.conf import register_opts
from l3agent.demo.samples import sample
from l3agent.rpc import get_transport


def options(name: str) -> Iterator[tuple[str, str, str, bool]]:
    """Yield group, option, value and whether it is set, of a sample with options that are commented out."""
    group = "DEFAULT"
    for line in sample(name).read_text(encoding="utf-8").splitlines():
        if header := re.fullmatch(r"\[(\w+)]", line):
            group = header[1]
        elif option := re.fullmatch(r"(#?)(\w+) = (.+)", line):
            yield group, option[2], option[3], not option[1]


@pytest.mark.parametrize("name", ["l3_agent.conf", "standalone.conf"])
def test_a_sample_names_options_that_exist_and_shows_defaults_where_it_sets_nothing(name: str) -> None:
    conf = cfg.ConfigOpts()
    register_opts(conf)
    logging.register_options(conf)
    conf(["--config-file", str(sample(name))], project="l3agent")
    get_transport(conf, "local://")
    seen = 0
    for group, option, value, is_set in options(name):
        members = conf if group == "DEFAULT" else conf[group]
        assert option in members, option
        shown_elsewhere = ("host", "log_file", "interface_driver")  # the node's own name; examples
        if is_set or option not in shown_elsewhere:
            assert str(members[option]).lower().removesuffix(".0") == value.lower(), option
        seen += 1
    assert seen >= 5
