# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from struct import pack

from l3agent.dataplane.drift.link_settings import LinkSettings
from l3agent.dataplane.netlink import rtnl
from l3agent.dataplane.netlink.message import attribute, message, nested, text

_STATS64, _AF_SPEC, _INET6_CONF, _CACHEINFO = 23, 26, 2, 5


def link(index: int, *, packets: int = 0, timer: int = 0, disabled: int = 1, alias: str = "") -> bytes:
    """Return the message of a link, with its counters and timers."""
    settings = [0] * 26 + [disabled]
    inet6 = attribute(_CACHEINFO, pack("=4I", 0, 0, timer, 0)) + attribute(_INET6_CONF, pack("=27i", *settings))
    body = pack("=BxHiII", 0, 0, index, 0, 0) + text(3, f"tap{index}") + (text(20, alias) if alias else b"")
    body += attribute(_STATS64, pack("=Q", packets)) + nested(_AF_SPEC, nested(rtnl.AF_INET6, inet6))
    return message(rtnl.NEWLINK, 0, body)


def changed(settings: LinkSettings, *links: bytes) -> list[str]:
    return [info.name for info, _ in settings.changed(b"".join(links))]


def test_links_are_new_once_and_then_changed_with_their_settings_only() -> None:
    settings = LinkSettings()
    assert changed(settings, link(1), link(2)) == ["tap1", "tap2"]
    assert changed(settings, link(1), link(2)) == []
    assert changed(settings, link(1, packets=7), link(2, timer=9)) == []
    assert changed(settings, link(1), link(2, disabled=0)) == ["tap2"]
    # The settings are at another place of the message.
    assert changed(settings, link(1), link(2)) == ["tap2"]
    assert changed(settings, link(2), link(1)) == []


def test_forgotten_links_are_new_and_others_are_not_compared() -> None:
    settings = LinkSettings()
    changed(settings, link(1), link(2))
    settings.forget(1)
    assert changed(settings, link(1), link(2)) == ["tap1"]
    settings.retain([2])
    assert list(settings.changed(link(1), among=[2])) == []
    assert changed(settings, link(1), link(2)) == ["tap1"]


def test_a_whole_dump_is_compared_where_its_headers_and_settings_were() -> None:
    settings = LinkSettings()
    assert [info.name for info in settings.read(link(1) + link(2))] == ["tap1", "tap2"]
    assert settings.read(link(1, packets=7) + link(2, timer=9)) == []
    assert settings.read(link(2) + link(1)) == []
    assert [info.name for info in settings.read(link(2, disabled=0) + link(1))] == ["tap2"]
    assert [info.name for info in settings.read(link(2, disabled=0) + link(3))] == ["tap3"]
    assert [info.name for info in settings.read(link(2, disabled=0))] == []
    assert [info.name for info in settings.read(link(2))] == ["tap2"]


def test_a_link_without_settings_is_new_once() -> None:
    settings = LinkSettings()
    bare = message(rtnl.NEWLINK, 0, pack("=BxHiII", 0, 0, 3, 0, 0) + text(3, "tap3"))
    assert [changed(settings, bare) for _ in range(2)] == [["tap3"], []]
