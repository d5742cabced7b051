# SPDX-License-Identifier: Apache-2.0
"""A MariaDB of our own. SQLite will not do: Neutron's migrations need a real ALTER TABLE."""

from __future__ import annotations

from pathlib import Path

from tests.neutron.programs import Program
from tests.support.sandbox import Sandbox, SandboxError

# The bed is thrown away: nothing has to survive a power cut.
_CARELESS = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=16M",
    "--sync-binlog=0",
    "--skip-log-bin",
)


class Database:
    """One server process with its own data folder and socket."""

    def __init__(self, sandbox: Sandbox, folder: Path, port: int = 3306) -> None:
        self._sandbox = sandbox
        self._data = folder / "mariadb"
        self._socket = folder / "mariadb.sock"
        # Without TLS: reading all certificate authorities for each connection was a fifth of the server's work.
        self.url = f"mysql+pymysql://root@127.0.0.1:{port}/neutron?charset=utf8&ssl_disabled=true"
        place = [f"--datadir={self._data}", "--user=root"]
        self._install = ["mariadb-install-db", "--no-defaults", *place, "--auth-root-authentication-method=normal"]
        listen = [f"--socket={self._socket}", f"--port={port}", "--bind-address=127.0.0.1"]
        argv = ["mariadbd", "--no-defaults", *place, *listen, *_CARELESS]
        self.program = Program("mariadb", argv, sandbox=sandbox, folder=folder)

    def start(self) -> None:
        """Make the data folder if there is none, and start the server."""
        fresh = not self._data.exists()
        if fresh:
            self._sandbox.run([*self._install, "--skip-test-db"], timeout=180)
        self.program.start(ready=lambda: self._sql("SELECT 1"))
        if fresh:
            self._sql("CREATE DATABASE neutron CHARACTER SET utf8mb3")

    def _sql(self, statement: str) -> bool:
        try:
            self._sandbox.run(["mariadb", "--no-defaults", f"--socket={self._socket}", "-e", statement])
        except SandboxError:
            return False
        return True
