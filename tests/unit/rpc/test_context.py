# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

from l3agent.rpc import Context, ContextSerializer, admin_context

# As a server of 2026 sends them; those of 2016 send tenant, tenant_id and tenant_name too.
KEYS = {
    "auth_token",
    "domain",
    "global_request_id",
    "is_admin",
    "is_admin_project",
    "project",
    "project_domain",
    "project_id",
    "project_name",
    "read_only",
    "request_id",
    "resource_uuid",
    "roles",
    "show_deleted",
    "system_scope",
    "timestamp",
    "user",
    "user_domain",
    "user_id",
    "user_identity",
    "user_name",
}


def test_an_admin_context_has_the_keys_that_servers_read() -> None:
    values = ContextSerializer().serialize_context(admin_context())
    assert values.keys() >= KEYS | {"tenant", "tenant_id", "tenant_name"}
    assert values["is_admin"] is True
    assert "admin" in values["roles"]
    assert values["request_id"].startswith("req-")
    json.dumps(values)


def test_each_context_has_a_request_id_of_its_own() -> None:
    assert admin_context().request_id != admin_context().request_id


def test_a_context_survives_the_way_to_the_server() -> None:
    serializer = ContextSerializer()
    context = Context(user_id="u", project_id="p", user_name="n", roles=["r"], is_admin=False, read_only=True)
    values = serializer.serialize_context(context)
    assert serializer.serialize_context(serializer.deserialize_context(values)) == values


def test_keys_that_are_not_known_are_dropped() -> None:
    context = ContextSerializer().deserialize_context({"is_admin": True, "has_global_access": True, "new": 1})
    assert context.is_admin
    assert "new" not in context.to_dict()


def test_a_context_is_not_left_in_the_thread() -> None:
    from oslo_context import context as oslo_context

    admin_context()
    assert oslo_context.get_current() is None
