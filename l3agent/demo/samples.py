# SPDX-License-Identifier: Apache-2.0
"""Finds the sample files of ``etc/l3agent/``: in the checkout, or in the installation.

The source holds one copy. The wheel carries it as data files (``share/l3agent`` below the installation's prefix), and
the installation's own record (``RECORD``) holds their paths, whatever the scheme.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from l3agent.exceptions import ConfigError

_CHECKOUT = Path(__file__).resolve().parents[2] / "etc" / "l3agent"
_INSTALLED = ("share", "l3agent")


def sample(name: str) -> Path:
    """Return the path of a sample file.

    :param name: as in ``topology.yaml``, ``standalone.conf``, ``l3_agent.conf``.
    :raises ConfigError: the installation has no such file.
    """
    # The checkout comes first: an editable installation copies data files once and does not update them.
    for path in (_CHECKOUT / name, *_installed(name)):
        if path.is_file():
            return path
    raise ConfigError(f"{name}: this installation of l3agent lacks the sample; install l3agent again from its wheel")


def _installed(name: str) -> list[Path]:
    try:
        recorded = files("l3agent") or []
    except PackageNotFoundError:
        return []
    return [Path(str(entry.locate())).resolve() for entry in recorded if entry.parts[-3:] == (*_INSTALLED, name)]
