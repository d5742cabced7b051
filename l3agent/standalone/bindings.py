# SPDX-License-Identifier: Apache-2.0
"""Persistent bindings of routers to agents, so that a restarted server does not move routers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class BindingsFile:
    """A file with a JSON object, host by router id; replaced atomically."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """Return the bindings of an earlier run; empty if the file is missing or invalid."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            self._saved = {str(router_id): str(host) for router_id, host in found.items()}
        except FileNotFoundError:
            LOG.info("%s: no such file yet, routers are scheduled anew", self._path)
        except (OSError, ValueError, AttributeError) as exc:
            LOG.warning("%s: invalid, routers may move to other agents: %s", self._path, exc)
        return dict(self._saved)

    def save(self, bindings: Mapping[str, str]) -> None:
        """Write the bindings if they changed; log a failure once per change."""
        if bindings == self._saved:
            return
        self._saved = dict(bindings)
        draft = self._path.with_suffix(".new")
        try:
            draft.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(self._saved, indent=1, sort_keys=True), encoding="utf-8")
            os.replace(draft, self._path)
        except OSError as exc:
            LOG.warning("%s: not written, routers may move to other agents at a restart: %s", self._path, exc)
