# SPDX-License-Identifier: Apache-2.0
"""Laws of the topology file: it is read or refused, never anything else; and what is read, an agent can serve."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from hypothesis import event, given, settings
from hypothesis import strategies as st

from l3agent.demo.samples import sample
from l3agent.exceptions import ConfigError
from l3agent.model.desired import desired_state
from l3agent.standalone.entities import Topology
from l3agent.standalone.hosts import simulated_states
from l3agent.standalone.router_payload import router_payload
from l3agent.standalone.topology import load

SAMPLE = sample("topology.yaml").read_text(encoding="utf-8")
WORDS = re.compile(r"[^\s,{}\[\]]+")
#: Where a value or a key begins and ends, comments left out.
PLACES = [
    match.span()
    for line in re.finditer(r"^[^#\n]*", SAMPLE, re.MULTILINE)
    for match in WORDS.finditer(SAMPLE, *line.span())
]

ADDRESSES = [(start, end) for start, end in PLACES if re.search(r"\d[.:]+\w|::", SAMPLE[start:end])]

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
near = st.tuples(
    st.sampled_from(["10.0.0.", "203.0.113.", "198.51.100.", "172.30.0.", "2001:db8:1::", "2001:db8:ffff::"]),
    st.integers(0, 256),
    st.sampled_from(["", "", "", "/24", "/32", "/64", "/128", "/0", ":"]),
).map(lambda parts: f"{parts[0]}{parts[1]}{parts[2]}")
names = st.sampled_from(
    ["vm1", "vm2", "blue", "red", "public", "blue-v4", "red-v4", "green-v4", "r1:", "null", "true", "false", "[]", "{}"]
)
junk = st.one_of(addresses, near, near, names, st.integers().map(str), st.text(max_size=12))


def read(content: bytes) -> Topology | None:
    """Return the topology, or None when it was refused in the way that is promised."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "topology.yaml")
        path.write_bytes(content)
        try:
            return load(path)
        except ConfigError as exc:
            lines = str(exc).splitlines()
            assert lines
            assert all(re.match(rf"{re.escape(str(path))}:\d+: .*: .", line) for line in lines), lines
            return None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_lines(content: bytes) -> None:
    read(content)


Change = tuple[tuple[int, int], str]


def changed(changes: list[Change]) -> bytes:
    text = SAMPLE
    for (start, end), word in sorted(changes, reverse=True):
        text = text[:start] + word + text[end:]
    return text.encode("utf-8", "surrogatepass")


@given(st.lists(st.tuples(st.sampled_from(PLACES), junk), min_size=1, max_size=3, unique_by=lambda change: change[0]))
def test_a_sample_with_junk_in_it_is_read_or_refused_with_lines(changes: list[Change]) -> None:
    read(changed(changes))


@st.composite
def renumbered(draw: st.DrawFn) -> Change:
    """Another last number in one of the addresses, or another prefix length: often right, sometimes not."""
    start, end = draw(st.sampled_from(ADDRESSES))
    word = SAMPLE[start:end]
    if "/" in word:
        return (start, end), re.sub(r"/\d+", f"/{draw(st.integers(20, 64 if ':' in word else 30))}", word)
    number = draw(st.integers(0, 255))
    return (start, end), re.sub(r"\w+(\W?)$", rf"{number}\1", word)


@settings(max_examples=100)
@given(st.lists(renumbered(), max_size=3, unique_by=lambda change: change[0]))
def test_what_is_not_refused_an_agent_can_serve(changes: list[Change]) -> None:
    topology = read(changed(changes))
    event("refused" if topology is None else "read")
    if topology is None:
        return
    simulated_states(topology)
    for router in topology.routers:
        state = desired_state(router_payload(router, host="node1", status=lambda pair: "DOWN"))
        assert len(state.floating_ips) == len(router.floating_ips)
        assert not [note for note in state.warnings if not note.startswith("default route")], state.warnings
