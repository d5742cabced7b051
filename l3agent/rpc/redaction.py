# SPDX-License-Identifier: Apache-2.0
"""Message keys that an RPC trace redacts.

These are ids of users and projects, names of hosts, and free text. Ids of routers, networks and ports, and addresses,
are not redacted: a replay needs them.
"""

from __future__ import annotations

#: Kind of replacement for the value of each key; see :class:`l3agent.rpc.rpc_trace.RpcTrace`.
REDACTED_KEYS: dict[str, str] = {
    **dict.fromkeys(("host", "binding:host_id", "gw_port_host", "dest_host", "hostname"), "host"),
    **dict.fromkeys(("project_id", "tenant_id", "user_id", "project", "tenant", "user"), "owner"),
    **dict.fromkeys(("name", "description", "dns_name", "dns_domain", "fqdn", "tags"), "name"),
    **dict.fromkeys(("project_name", "tenant_name", "user_name"), "name"),
}
