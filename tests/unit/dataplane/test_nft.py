# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from struct import pack, unpack_from

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3agent.dataplane.netlink import nf_tables as nf
from l3agent.dataplane.netlink import nft, nft_elements
from l3agent.dataplane.netlink.message import ACK, be32, messages, nested, text
from l3agent.dataplane.netlink.nft_types import device_key
from l3agent.dataplane.netlink.ruleset import NftTable, new_table
from l3agent.dataplane.netlink.tables import DECLARED, EXTERNAL, FLOATING_DNAT, ROUTER, TRAFFIC


def whole_table(table: NftTable = ROUTER) -> list[bytes]:
    return list(new_table(table))


keys = st.binary(min_size=4, max_size=4)


@given(st.dictionaries(keys, keys, min_size=1, max_size=6))
def test_elements_of_a_map_are_read_back(elements: dict[bytes, bytes]) -> None:
    assert (
        nft_elements.decode_elements(FLOATING_DNAT, nft_elements.new_elements(FLOATING_DNAT, elements.items()))
        == elements
    )


@given(st.sets(st.sampled_from(["qg-a", "qg-b", "a" * 15]), min_size=1))
def test_elements_of_a_set_are_read_back(devices: set[str]) -> None:
    listed = [(device_key(device), None) for device in devices]
    assert nft_elements.decode_elements(EXTERNAL, nft_elements.new_elements(EXTERNAL, listed)) == dict(listed)


def test_a_device_is_a_key_of_sixteen_bytes() -> None:
    assert device_key("qg-a") == b"qg-a" + bytes(12)


def test_the_element_that_catches_all_has_the_empty_key() -> None:
    data = nft_elements.new_elements(FLOATING_DNAT, [(b"\1\2\3\4", b"\5\6\7\x08")])
    # The key attribute (type 1) becomes the flags (type 3) that stand in its place.
    at = data.index(b"\1\2\3\4") - 8
    catch_all = data[: at + 2] + b"\3\0" + data[at + 4 :]
    assert nft_elements.decode_elements(FLOATING_DNAT, catch_all) == {b"": b"\5\6\7\x08"}


@given(st.data())
def test_a_cut_dump_of_elements_is_read_up_to_the_cut(data: st.DataObject) -> None:
    first = nft_elements.new_elements(FLOATING_DNAT, [(b"\1\1\1\1", b"\2\2\2\2")])
    whole = first + nft_elements.new_elements(FLOATING_DNAT, [(b"\3\3\3\3", b"\4\4\4\4")])
    part = whole[: data.draw(st.integers(0, len(whole)))]
    assert (
        nft_elements.decode_elements(FLOATING_DNAT, part).items()
        <= nft_elements.decode_elements(FLOATING_DNAT, whole).items()
    )


# ---- the fingerprint ----------------------------------------------------------------------------------------------


def test_the_fingerprint_is_the_same_for_the_same_table() -> None:
    assert nft.fingerprint(ROUTER, *whole_table()) == nft.fingerprint(ROUTER, b"".join(whole_table()))
    assert nft.fingerprint(ROUTER) == frozenset()


@pytest.mark.parametrize(("table", "place"), [(one, at) for one in DECLARED for at in range(len(new_table(one)))])
def test_no_part_of_a_table_can_be_missing_unnoticed(table: NftTable, place: int) -> None:
    parts = whole_table(table)
    assert nft.fingerprint(table, *parts[:place], *parts[place + 1 :]) != nft.fingerprint(table, *parts)


def test_a_set_that_does_not_count_is_noticed() -> None:
    parts = whole_table(TRAFFIC)
    places = [at for at, part in enumerate(parts) if b"counter\0" in part]
    assert len(places) == 2
    for at in places:
        counting = nested(17, text(1, "counter"), nested(2))
        (length,) = unpack_from("=I", parts[at])
        silent = pack("=I", length - len(counting)) + parts[at][4 : -len(counting)]
        assert parts[at].endswith(counting)
        assert nft.fingerprint(TRAFFIC, *parts[:at], silent, *parts[at + 1 :]) != nft.fingerprint(TRAFFIC, *parts)


def test_rules_cannot_change_places_unnoticed() -> None:
    parts = whole_table()
    parts[-1], parts[-2] = parts[-2], parts[-1]
    assert nft.fingerprint(ROUTER, *parts) != nft.fingerprint(ROUTER, *whole_table())


def test_a_rule_more_a_chain_more_and_a_set_more_are_noticed() -> None:
    parts = whole_table()
    for one in parts[1:]:
        more = one.replace(b"external\0", b"internal\0").replace(b"output\0", b"outpux\0")
        kind = {kind & 0xFF for kind, *_ in messages(one)}
        if kind == {6} or more != one:
            assert nft.fingerprint(ROUTER, *parts, more) != nft.fingerprint(ROUTER, *parts)


def test_a_flag_of_the_table_is_noticed() -> None:
    parts = whole_table()
    dormant = ROUTER.id.request(nf.NFT_MSG_NEWTABLE, text(1, ROUTER.id.name) + be32(2, 1))
    assert nft.fingerprint(ROUTER, dormant, *parts[1:]) != nft.fingerprint(ROUTER, *parts)


def test_another_table_is_no_part_of_it() -> None:
    parts = whole_table()
    foreign = [one.replace(b"l3agent\0", b"l3other\0") for one in parts]
    assert nft.fingerprint(ROUTER, *parts, *foreign) == nft.fingerprint(ROUTER, *parts)
    assert nft.fingerprint(ROUTER, *foreign) == frozenset()


@given(st.data())
def test_a_changed_byte_of_a_rule_is_noticed(data: st.DataObject) -> None:
    parts = whole_table()
    place = data.draw(st.sampled_from([at for at, one in enumerate(parts) if next(messages(one))[0] & 0xFF == 6]))
    ((_, _, _, start, end),) = messages(parts[place])
    # Expressions come after the names of table and chain.
    expressions = min(at for name in (b"lookup\0", b"bitwise\0") if (at := parts[place].find(name)) > 0) - 12
    at = data.draw(st.integers(expressions, end - 1))
    changed = bytearray(parts[place])
    changed[at] ^= data.draw(st.integers(1, 255))
    assert start < at
    whole = nft.fingerprint(ROUTER, *parts)
    assert nft.fingerprint(ROUTER, *parts[:place], bytes(changed), *parts[place + 1 :]) != whole


# ---- batches ------------------------------------------------------------------------------------------------------


def test_a_batch_begins_and_ends_and_only_its_last_step_wants_an_acknowledgement() -> None:
    data, last = nft.batch(whole_table(), 70)
    found = list(messages(data))
    assert (found[0][0], found[-1][0]) == (16, 17)
    assert [number for _, _, number, _, _ in found][:-1] == list(range(70, last + 1))
    assert [number for _, flags, number, _, _ in found if flags & ACK] == [last]
