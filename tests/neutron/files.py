# SPDX-License-Identifier: Apache-2.0
"""Configuration files of the bed: those in ``etc/``, in the form that deployment tools write, with places filled."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

_ETC = Path(__file__).with_name("etc")


@dataclass(frozen=True)
class Deployment:
    """What differs from one deployment to the next; the names are those in the files.

    :param report_interval: seconds between two state reports of an agent.
    :param agent_down_time: seconds without a report until the server calls an agent dead.
    :param privsep_threads: privileged calls at a time of Neutron's own agents; their default is the number of
        processors, which makes them far slower on a small machine.
    """

    host: str
    state_path: Path
    venv: Path
    transport_url: str
    database_url: str
    ovsdb: str
    physical_network: str
    external_bridge: str
    interface_driver: str
    report_interval: int = 4
    agent_down_time: int = 15
    privsep_threads: int = 32

    def write(self, folder: Path, *names: str) -> list[str]:
        """Write files into a folder of their own; return the arguments that make a program read them."""
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / name).write_text((_ETC / name).read_text().format(**asdict(self)))
        return [f"--config-file={folder / name}" for name in names]
