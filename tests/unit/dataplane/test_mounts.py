# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from l3agent.dataplane.kernel.mounts import Mount, find_fault, parse_mountinfo

HOST = "25 22 0:22 / /run rw,nosuid shared:5 - tmpfs tmpfs rw"
SHARED = "60 25 0:22 /netns /run/netns rw,nosuid shared:5 - tmpfs tmpfs rw"
UNIT_WITH_A_MOUNT_NAMESPACE = "25 22 0:22 / /run rw,nosuid master:5 - tmpfs tmpfs rw"
OVERLAY = "500 400 0:50 / / rw,relatime - overlay overlay rw"
SLAVE = "502 501 0:22 /netns /run/netns rw,nosuid master:5 - tmpfs tmpfs rw"
PRIVATE = "502 501 0:22 /netns /run/netns rw,nosuid - tmpfs tmpfs rw"
ADVICE = "in this container: run it with `--volume /run/netns:/run/netns:shared`"


@pytest.mark.parametrize(
    ("line", "in_container", "words"),
    [
        (SHARED, False, None),
        (HOST, False, None),  # the first namespace after a boot
        (UNIT_WITH_A_MOUNT_NAMESPACE, False, "propagates nothing"),
        (PRIVATE, False, "is a private mount"),
        (SHARED, True, None),
        (OVERLAY, True, f"is no mount of its own {ADVICE}"),
        (SLAVE, True, f"is a private mount {ADVICE}"),
        (PRIVATE, True, f"is a private mount {ADVICE}"),
    ],
)
def test_the_directory_of_namespaces_is_the_hosts_or_the_fault_is_named(
    line: str, in_container: bool, words: str | None
) -> None:
    (mount,) = parse_mountinfo(line).values()
    fault = find_fault(mount, "/run/netns", in_container=in_container)
    assert (fault is None) if words is None else (fault is not None and words in fault)


def test_spaces_in_a_path_are_decoded() -> None:
    line = r"60 25 0:22 / /srv/name\040spaces rw shared:5 master:2 - tmpfs tmpfs rw"
    assert parse_mountinfo(line) == {60: Mount(60, "/srv/name spaces", is_shared=True, is_slave=True)}
