# SPDX-License-Identifier: Apache-2.0
"""Transport without a broker for one test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from oslo_config import cfg

from l3agent.rpc import get_transport


@contextmanager
def local_transport(conf: cfg.ConfigOpts | None = None) -> Iterator[Any]:
    """Provide a ``local://`` transport with a unique name.

    :param conf: options of the transport; default: a new ``ConfigOpts``.
    """
    if conf is None:
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[])
    transport = get_transport(conf, f"local:///{uuid.uuid4()}")
    try:
        yield transport
    finally:
        transport.cleanup()
