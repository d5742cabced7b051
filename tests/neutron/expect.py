# SPDX-License-Identifier: Apache-2.0
"""What the tests wait for."""

from __future__ import annotations

import contextlib

from tests.neutron.bed import Bed
from tests.neutron.cloud import Member
from tests.neutron.kernel import in_api, in_kernel
from tests.support.waiting import poll

#: Seconds from the answer of the API to the kernel; the server has most of them.
SOON = 120


def wait_equal(bed: Bed, timeout: float = SOON) -> None:
    """Wait until the kernel has what the API says."""
    wanted = in_api(bed.rest)
    with contextlib.suppress(TimeoutError):
        poll(lambda: in_kernel(bed.sandbox) == wanted, timeout)
    assert in_kernel(bed.sandbox) == wanted


def wait_status(bed: Bed, floating_ip: Member, status: str) -> None:
    """Wait until the API gives a floating IP this status."""
    poll(lambda: bed.rest.get("floatingips", floating_ip["id"])["status"] == status, SOON)
