# SPDX-License-Identifier: Apache-2.0
"""Interface of work that another thread does."""

from __future__ import annotations

from typing import Protocol


class Wait(Protocol):
    """Pending work of another thread; the kernel thread runs other jobs until it is done."""

    @property
    def done(self) -> bool:
        """True after the work succeeded or failed."""

    @property
    def error(self) -> str | None:
        """Reason of the failure, or None."""
