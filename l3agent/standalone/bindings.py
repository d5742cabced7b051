# SPDX-License-Identifier: Apache-2.0
"""Which agent has which router, in a file, so that a restarted server does not hand routers to other agents."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class BindingsFile:
    """A JSON object, host by router id; written whole and renamed into place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._saved: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """Return what an earlier run left; nothing where there is no such file, or none that can be understood."""
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            self._saved = {str(router_id): str(host) for router_id, host in found.items()}
        except FileNotFoundError:
            LOG.info("%s: not there yet, routers go to the agents as they come", self._path)
        except (OSError, ValueError, AttributeError) as exc:
            LOG.warning("%s: not understood, routers may move to other agents: %s", self._path, exc)
        return dict(self._saved)

    def save(self, bindings: Mapping[str, str]) -> None:
        """Write the bindings if they changed; a failure is logged, once a change."""
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
