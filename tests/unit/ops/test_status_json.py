# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from l3agent.exceptions import ApplyError
from l3agent.ops.status import status
from l3agent.ops.status_json import StatusEncoder
from l3agent.testing import wait_until
from tests.support.payloads import a_router
from tests.unit.ops.conftest import Site

_ROUTERS = st.dictionaries(
    st.text(max_size=5),
    st.fixed_dictionaries(
        {
            "name": st.text(),
            "error": st.none() | st.text(),
            "last": st.fixed_dictionaries({"operations": st.lists(st.text(), max_size=3), "timings": st.just({})}),
        }
    ),
    max_size=4,
)


@given(st.lists(_ROUTERS, min_size=1, max_size=4))
def test_one_status_after_the_other_is_what_json_makes_of_it(following: list[dict[str, Any]]) -> None:
    encoder = StatusEncoder()
    for routers in following:
        value = {"in_sync": True, "routers": routers, "removed": []}
        assert json.loads(encoder.encode(value)) == value


def test_the_page_and_the_control_socket_say_the_same(site: Site) -> None:
    site.update(a_router())
    for _ in range(2):
        over_http = json.loads(site.get("/status.json").body)
        direct = json.loads(json.dumps(status(site.agent.view, site.dataplane)))
        assert over_http.keys() == direct.keys()
        assert over_http["routers"] == direct["routers"]
        site.dataplane.fail_next(ApplyError("no"))
        site.agent.routers_updated(None, [a_router()["id"]])
        wait_until(lambda: site.agent.router_info[a_router()["id"]].updates == 2)
