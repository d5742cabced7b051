# SPDX-License-Identifier: Apache-2.0
"""The topology of a node as a self-contained SVG image. Pure functions.

An external network is a bar; below it are its routers, each with its networks and their hosts. Routers that exceed the
page width continue in another row under a bar of the same network. Lengths are in pixels.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape

from l3agent.cli.graph import ExternalNetwork, HostNode, InternalNetwork, RouterNode, Topology, external_networks

_PAGE = 1400
_MARGIN, _GAP = 32, 28
_BAR, _TITLE = 36, 58
#: Vertical distance between two levels.
_DROP = 44
_LINE = 16
_HOST_W, _HOST_GAP, _HOSTS_PER_ROW = 168, 14, 4
_ROUTER_W = 236
_NETWORK_MIN_W = 236

_STYLE = """
svg { font: 12px/1.3 system-ui, "DejaVu Sans", sans-serif; color-scheme: light dark; background: var(--page);
  --page: #f8fafc; --card: #ffffff; --ink: #0f172a; --soft: #64748b; --line: #94a3b8; --outside: #2563eb; }
@media (prefers-color-scheme: dark) { svg {
  --page: #0b1220; --card: #16213a; --ink: #e2e8f0; --soft: #94a3b8; --line: #475569; --outside: #3b82f6; } }
.title { font-size: 20px; font-weight: 700; fill: var(--ink); }
.name { font-weight: 700; font-size: 13px; fill: var(--ink); }
.text { fill: var(--ink); } .soft { fill: var(--soft); } .white { fill: #fff; font-weight: 700; }
.address { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 11px; fill: var(--soft); }
.wire { stroke: var(--line); stroke-width: 1.6; fill: none; }
.outside { fill: var(--outside); } .net { stroke: none; }
.box { fill: var(--card); stroke: var(--line); } .pill { fill: #f59e0b; }
.active { stroke: #16a34a; stroke-width: 2; } .pending { stroke: #ca8a04; stroke-width: 2; }
.error { stroke: #dc2626; stroke-width: 2.5; }
.dot.active { fill: #16a34a; } .dot.pending { fill: #ca8a04; } .dot.error { fill: #dc2626; }
"""


_FORBIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(slots=True)
class _Drawing:
    """SVG elements and their extent; wires are drawn below shapes."""

    wires: list[str] = field(default_factory=list)
    shapes: list[str] = field(default_factory=list)
    width: float = 0
    height: float = 0

    def wire(self, x: float, top: float, bottom: float, to: float | None = None) -> None:
        """Draw a vertical line, with a horizontal step in the middle if ``to`` differs from ``x``."""
        end = x if to is None else to
        middle = (top + bottom) / 2
        self.wires.append(f'<path class="wire" d="M{x:g} {top:g}V{middle:g}H{end:g}V{bottom:g}"/>')

    def box(
        self, x: float, y: float, width: float, height: float, kind: str, *, round: float = 8, more: str = ""
    ) -> None:
        self.shapes.append(
            f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{round:g}"{more}/>'
        )
        self.width, self.height = max(self.width, x + width), max(self.height, y + height)

    def text(
        self, x: float, y: float, text: str, kind: str = "text", *, room: float | None = None, at: str = "start"
    ) -> None:
        """Write a line; text longer than ``room`` is truncated and complete in the tooltip."""
        limit = None if room is None else max(3, int(room / 6.9))
        shown = text if limit is None or len(text) <= limit else text[: limit - 1] + "…"
        tip = "" if shown == text else f"<title>{_escape_xml(text)}</title>"
        self.shapes.append(
            f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{at}">{_escape_xml(shown)}{tip}</text>'
        )


def svg(topology: Topology) -> str:
    """Return the topology as SVG."""
    drawing = _Drawing()
    count = len(topology["routers"])
    drawing.text(_MARGIN, _MARGIN + 16, f"{topology['host']}", "title")
    drawing.text(_MARGIN, _MARGIN + 34, f"{count} router{'' if count == 1 else 's'}", "soft")
    y: float = _MARGIN + _TITLE
    for external in external_networks(topology):
        y = _draw_external_network(drawing, external, y) + _GAP
    width, height = max(drawing.width, 360) + _MARGIN, max(drawing.height, y - _GAP) + _MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" role="img">'
    )
    title = f"<title>l3-agent on {_escape_xml(topology['host'])}</title>"
    return "\n".join((head, title, f"<style>{_STYLE}</style>", *drawing.wires, *drawing.shapes, "</svg>")) + "\n"


# From external networks to hosts; each function returns the bottom edge of its drawing.


def _draw_external_network(drawing: _Drawing, external: ExternalNetwork, y: float) -> float:
    for number, row in enumerate(_split_rows(external.routers)):
        hosts = external.hosts if number == 0 else []
        width = sum(map(_router_width, row)) + _GAP * (len(row) - 1)
        width += (_GAP if row and hosts else 0) + _hosts_width(hosts)
        x: float = _MARGIN
        if external.id:
            drawing.box(x, y, width, _BAR, "outside")
            drawing.text(x + 14, y + 23, external.name, "white", room=width / 2)
            drawing.text(x + width - 14, y + 23, "external", "white", at="end")
        top, bottom = y + (_BAR if external.id else 0), y
        for router in row:
            bottom = max(bottom, _draw_router(drawing, router, x, top, has_external=bool(external.id)))
            x += _router_width(router) + _GAP
        bottom = max(bottom, _draw_hosts(drawing, hosts, x, top))
        y = bottom + _GAP
    return y - _GAP


def _split_rows(routers: Iterable[RouterNode]) -> Iterator[list[RouterNode]]:
    row: list[RouterNode] = []
    used = 0.0
    for router in routers:
        width = _router_width(router) + _GAP
        if row and used + width > _PAGE:
            yield row
            row, used = [], 0.0
        row.append(router)
        used += width
    yield row


def _draw_router(drawing: _Drawing, router: RouterNode, x: float, y: float, *, has_external: bool) -> float:
    lines = [*router.gateway, *(f"{one} → {other}" for one, other in router.floating_ips)]
    lines += [f"route {one}" for one in router.routes]
    height = 40 + _LINE * len(lines)
    middle = x + _router_width(router) / 2
    left, top = middle - _ROUTER_W / 2, y + _DROP
    if has_external:
        drawing.wire(middle, y, top)
    drawing.box(left, top, _ROUTER_W, height, f"box {router.state}", round=12)
    drawing.shapes.append(f'<circle class="dot {router.state}" cx="{left + 18:g}" cy="{top + 20:g}" r="5"/>')
    drawing.text(left + 32, top + 24, router.name, "name", room=_ROUTER_W - 120)
    label = router.state if router.state != "active" else "source NAT" if router.snat else ""
    drawing.text(left + _ROUTER_W - 14, top + 24, label, "soft", at="end")
    for number, line in enumerate(lines):
        drawing.text(left + 18, top + 44 + _LINE * number, line, "address", room=_ROUTER_W - 32)
    bottom = top + height
    at, end = x + (_router_width(router) - _networks_width(router)) / 2, bottom
    for network in router.networks:
        width = _network_width(network)
        drawing.wire(middle, bottom, bottom + _DROP, at + width / 2)
        end = max(end, _draw_network(drawing, network, at, bottom + _DROP, width))
        at += width + _GAP
    return end


def _draw_network(drawing: _Drawing, network: InternalNetwork, x: float, y: float, width: float) -> float:
    hue = zlib.crc32(network.id.encode()) % 360
    height = 30 + _LINE * len(network.addresses)
    dashes = ' stroke-dasharray="5 4"' if network.shared else ""
    drawing.box(
        x, y, width, height, "net", more=f' style="fill:hsl({hue} 55% 50% / .18);stroke:hsl({hue} 45% 50%)"{dashes}'
    )
    drawing.text(x + 12, y + 20, network.name, "name", room=width - 24)
    for number, address in enumerate(network.addresses):
        drawing.text(x + 12, y + 38 + _LINE * number, address, "address", room=width - 24)
    bottom = y + height
    left = x + (width - _hosts_width(network.hosts)) / 2
    return max(bottom, _draw_hosts(drawing, network.hosts, left, bottom))


def _draw_hosts(drawing: _Drawing, hosts: list[HostNode], x: float, y: float) -> float:
    bottom = y
    for start in range(0, len(hosts), _HOSTS_PER_ROW):
        top = bottom + (_DROP / 2 if start == 0 else _HOST_GAP)
        for column, host in enumerate(hosts[start : start + _HOSTS_PER_ROW]):
            left = x + column * (_HOST_W + _HOST_GAP)
            if start == 0:
                drawing.wire(left + _HOST_W / 2, y, top)
            bottom = max(bottom, _draw_host(drawing, host, left, top))
    return bottom


def _draw_host(drawing: _Drawing, host: HostNode, x: float, y: float) -> float:
    height = 34 + _LINE * len(host.addresses) + 24 * len(host.floating)
    drawing.box(x, y, _HOST_W, height, "box")
    drawing.text(x + 12, y + 20, host.name, "name", room=_HOST_W - 24)
    for number, address in enumerate(host.addresses):
        drawing.text(x + 12, y + 38 + _LINE * number, address, "address", room=_HOST_W - 20)
    at = y + 30 + _LINE * len(host.addresses)
    for floating in host.floating:
        drawing.box(x + 10, at, _HOST_W - 20, 19, "pill", round=9.5)
        drawing.text(x + _HOST_W / 2, at + 14, floating, "white", at="middle")
        at += 24
    return y + height


# Widths


def _router_width(router: RouterNode) -> float:
    return max(_ROUTER_W, _networks_width(router))


def _networks_width(router: RouterNode) -> float:
    return sum(map(_network_width, router.networks)) + _GAP * max(0, len(router.networks) - 1)


def _network_width(network: InternalNetwork) -> float:
    return max(_NETWORK_MIN_W, _hosts_width(network.hosts))


def _hosts_width(hosts: list[HostNode]) -> float:
    columns = min(len(hosts), _HOSTS_PER_ROW)
    return columns * _HOST_W + max(0, columns - 1) * _HOST_GAP


def _escape_xml(text: str) -> str:
    """Return text escaped for XML; characters that XML forbids become question marks (XML 1.0 section 2.2)."""
    return escape(
        "".join(
            one if one >= " " and one not in "\x7f\ufffe\uffff" and not 0xD800 <= ord(one) < 0xE000 else "?"
            for one in text
        )
    )
