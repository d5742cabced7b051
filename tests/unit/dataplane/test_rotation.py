# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from l3agent.dataplane.drift import rotation
from l3agent.dataplane.drift.rotation import next_order
from l3agent.dataplane.netlink.rtnl import LinkInfo
from l3agent.dataplane.plan.kinds.accept_ra import AcceptRA
from l3agent.dataplane.plan.kinds.base import Entry, select
from l3agent.dataplane.plan.kinds.device_settings import DeviceSettings
from l3agent.dataplane.plan.order import LINK_KINDS
from l3agent.model.states import Key

KEYS: list[Key] = [("router", name) for name in "abcd"]
A, B, C, D = KEYS


def a_link(index: int, name: str, *, forwarding: bool = True, accept_ra: bool | None = None) -> LinkInfo:
    return LinkInfo(
        index, name, "fa:16:3e:00:00:01", 1500, True, "veth", 0, 0, "", accept_ra=accept_ra, forwarding=forwarding
    )


def test_states_that_are_applied_again_keep_their_place_in_the_round() -> None:
    order = next_order([], [A, B, C])
    assert order == [A, B, C]
    # A state that is applied again is the last of those that are watched.
    assert next_order(order, [B, C, A]) == [A, B, C]
    assert next_order(order, [D, C, A]) == [A, C, D]


def test_a_read_selects_the_desired_entries_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"qr-{number}" for number in range(50)]
    desired: frozenset[Entry] = frozenset(map(DeviceSettings, names))
    infos = [a_link(index, name) for index, name in enumerate(names, start=2)]
    selected: list[type[Entry]] = []

    def counted(entries: Collection[Entry], kind: type[Any]) -> list[Any]:
        selected.append(kind)
        return select(entries, kind)

    monkeypatch.setattr(rotation, "select", counted)
    assert rotation._are_settings_as_desired(infos, desired, has_ipv6=True)
    assert len(selected) <= len(LINK_KINDS)


@pytest.mark.parametrize("has_ipv6", [True, False])
def test_settings_of_our_devices_are_compared_with_the_desired_ones(has_ipv6: bool) -> None:
    desired: frozenset[Entry] = frozenset({DeviceSettings("qr-1"), DeviceSettings("qr-2"), AcceptRA("qr-2")})
    fine = [a_link(2, "qr-1"), a_link(3, "qr-2", accept_ra=True if has_ipv6 else None), a_link(4, "other")]
    expected = {
        (): True,
        (a_link(2, "qr-1", forwarding=False),): False,
        (a_link(2, "qr-1", accept_ra=True),): False,
        (a_link(3, "qr-2", accept_ra=False),): not has_ipv6,
        (a_link(5, "qr-3"),): True,
        (a_link(6, "other", forwarding=False),): True,
    }
    for more, result in expected.items():
        infos = [one for one in fine if one.name not in {link.name for link in more}]
        assert rotation._are_settings_as_desired([*infos, *more], desired, has_ipv6=has_ipv6) is result, more
