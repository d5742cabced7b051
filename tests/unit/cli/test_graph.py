# SPDX-License-Identifier: Apache-2.0
"""The topology as text, Mermaid and SVG: elements that the output must contain."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from l3agent.cli.graph import mermaid_lines, tree_lines
from l3agent.cli.graph_svg import svg
from l3agent.cli.terminal import Screen


def port(network: str, *addresses: str, gateway: bool = False) -> dict[str, Any]:
    return {"device": "d", "network": network, "gateway": gateway, "addresses": list(addresses)}


def router(name: str, *ports: dict[str, Any], state: str = "active", **more: Any) -> dict[str, Any]:
    return {
        "id": f"{name}-id", "name": name, "state": state, "ports": list(ports), "snat": True, "routes": [],
        "floating_ips": [], **more,
    }  # fmt: skip


def topology(*routers: dict[str, Any], hosts: Any = (), networks: Any = None) -> dict[str, Any]:
    return {"host": "node1", "routers": list(routers), "hosts": list(hosts), "networks": networks or {}}


SMALL = topology(
    router(
        "r1",
        port("ext", "203.0.113.10/24", gateway=True),
        port("blue", "10.0.0.1/24"),
        port("blue", "2001:db8::1/64"),
        floating_ips=[["203.0.113.100", "10.0.0.5"], ["203.0.113.101", "10.0.0.99"]],
        routes=["172.30.0.0/24"],
    ),
    router("r2", port("blue", "10.0.0.2/24"), state="error"),
    hosts=[
        {"name": "vm1", "network": "blue", "addresses": ["10.0.0.5/24"]},
        {"name": "outside", "network": "ext", "addresses": ["203.0.113.1/24"]},
    ],
    networks={"ext": "public", "blue": "blue"},
)


def test_the_tree_goes_from_the_outside_inwards() -> None:
    assert list(tree_lines(SMALL, Screen())) == [
        "l3-agent on node1",
        "",
        "public (external)",
        "├─ router r1  203.0.113.10/24  source NAT",
        "│  ├─ blue  10.0.0.1/24, 2001:db8::1/64",
        "│  │  └─ host vm1  10.0.0.5/24  <- 203.0.113.100",
        "│  ├─ floating IP 203.0.113.101 -> 10.0.0.99",
        "│  └─ route 172.30.0.0/24",
        "└─ host outside  203.0.113.1/24",
        "",
        "no external network",
        "└─ router r2  source NAT  ERROR",
        "   └─ blue  10.0.0.2/24  (see above)",
    ]


def test_a_node_without_routers_has_a_tree_and_a_picture() -> None:
    assert list(tree_lines(topology(), Screen()))[-1] == "no routers"
    ET.fromstring(svg(topology()))
    assert next(mermaid_lines(topology())) == "flowchart TB"


def test_mermaid_has_each_network_once_and_each_link() -> None:
    lines = [line.strip() for line in mermaid_lines(SMALL)]
    assert sum(line.startswith("n1([") for line in lines) == 1
    assert '["r2"]:::error' in "\n".join(lines)
    assert 'rr1_2d_id ---|"10.0.0.1/24<br>2001:db8::1/64"| n1' in lines
    assert 'rr2_2d_id ---|"10.0.0.2/24"| n1' in lines


def test_names_cannot_break_out_of_a_label() -> None:
    evil = topology(router('"]\nclick r1 "javascript:alert(1)"', port("n", "10.0.0.1/24")))
    assert not any(line.strip().startswith("click") for line in mermaid_lines(evil))
    drawn = svg(topology(router("<script>alert(1)</script>", port("n", "10.0.0.1/24"))))
    assert "<script" not in drawn and "&lt;script" in drawn


def words(drawn: str) -> str:
    return " ".join("".join(one.itertext()) for one in ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}text"))


def test_the_picture_has_everything() -> None:
    drawn = svg(SMALL)
    for word in ("node1", "public", "external", "r1", "r2", "error", "blue", "vm1", "203.0.113.100", "outside"):
        assert word in words(drawn)
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", ""), "it needs something from elsewhere"


def boxes(drawn: str) -> list[tuple[float, float, float, float]]:
    found = ET.fromstring(drawn).iter("{http://www.w3.org/2000/svg}rect")
    return [tuple(float(one.attrib[name]) for name in ("x", "y", "width", "height")) for one in found]  # type: ignore[misc]


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6)), max_size=9))
def test_nothing_in_the_picture_lies_over_another_or_outside(shape: list[tuple[int, int]]) -> None:
    routers, hosts = [], []
    for number, (legs, machines) in enumerate(shape):
        inner = [port(f"n{number}-{leg}", "10.0.0.1/24") for leg in range(legs)]
        routers.append(router(f"r{number}", port(f"ext{number % 2}", "203.0.113.1/24", gateway=True), *inner))
        networks = [one["network"] for one in inner] or [f"ext{number % 2}"]
        hosts += [
            {"name": f"h{number}-{one}", "network": networks[one % len(networks)], "addresses": ["10.0.0.9/24"]}
            for one in range(machines)
        ]
    drawn = svg(topology(*routers, hosts=hosts))
    root = ET.fromstring(drawn)
    found = boxes(drawn)
    for number, (x, y, width, height) in enumerate(found):
        assert x + width <= float(root.attrib["width"]) and y + height <= float(root.attrib["height"])
        for left, top, wide, high in found[number + 1 :]:
            assert x + width <= left or left + wide <= x or y + height <= top or top + high <= y


@settings(max_examples=40)
@given(st.text(max_size=50))
def test_any_name_can_be_drawn(name: str) -> None:
    hosts = [{"name": name, "network": "n", "addresses": []}]
    drawn = topology(router(name, port("n", "10.0.0.1/24")), hosts=hosts, networks={"n": name})
    ET.fromstring(svg(drawn))
    assert all("\n" not in line for line in (*tree_lines(drawn, Screen()), *mermaid_lines(drawn)))
