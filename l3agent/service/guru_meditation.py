# SPDX-License-Identifier: Apache-2.0
"""Guru Meditation Report, which operators of OpenStack request with SIGUSR2: stacks of all greenthreads, and options.

The report goes to stderr or into ``[oslo_reports] log_dir``. Sections registered with
``TextGuruMeditation.register_section`` come last.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from oslo_config import cfg
from oslo_log import log as logging
from oslo_reports import opts
from oslo_reports.generators.conf import ConfigReportGenerator
from oslo_reports.generators.process import ProcessReportGenerator
from oslo_reports.generators.threading import GreenThreadReportGenerator, ThreadReportGenerator
from oslo_reports.guru_meditation_report import TextGuruMeditation
from oslo_reports.models.with_default_views import ModelWithDefaultViews
from oslo_reports.report import TextReport

LOG = logging.getLogger(__name__)


def register_options(conf: cfg.ConfigOpts) -> None:
    """Register the group ``oslo_reports``."""
    opts.set_defaults(conf)


def write_report(conf: cfg.ConfigOpts, sections: dict[str, Callable[[], dict[str, Any]]]) -> None:
    """Write a report; an error is logged. This blocks the hub for some tenths of a second.

    :param conf: source of the options in the report; secrets are masked. oslo.reports itself uses the global object.
    :param sections: additional sections, by title: a function that returns names and values.
    """
    LOG.info("SIGUSR2: writing a report")
    try:
        _output(conf, _format(conf, sections))
    except Exception:  # an error in a report does not end the process
        LOG.exception("Cannot write the report")


def _format(conf: cfg.ConfigOpts, sections: dict[str, Callable[[], dict[str, Any]]]) -> str:
    report = TextReport("Guru Meditation")
    for title, values in sections.items():
        report.add_section(title, _model(values))
    report.add_section("Threads", ThreadReportGenerator())
    report.add_section("Green Threads", GreenThreadReportGenerator())
    report.add_section("Processes", ProcessReportGenerator())
    report.add_section("Configuration", ConfigReportGenerator(conf))
    for title, generator in getattr(TextGuruMeditation, "persistent_sections", ()):
        report.add_section(title, generator)
    return str(report.run())


def _model(values: Callable[[], dict[str, Any]]) -> Callable[[], ModelWithDefaultViews]:
    return lambda: ModelWithDefaultViews(values())


def _output(conf: cfg.ConfigOpts, text: str) -> None:
    folder = conf.oslo_reports.log_dir
    if not folder:
        sys.stderr.write(text + "\n")
        return
    moment = time.strftime("%Y%m%d%H%M%S", time.gmtime())
    name = f"{os.path.basename(conf.prog or 'service')}_gurumeditation_{moment}_{os.getpid()}"
    with open(os.path.join(folder, name), "x") as file:
        file.write(text)
