# SPDX-License-Identifier: Apache-2.0
"""What of the messages between an L3 agent and its server is nobody's business outside of the site.

Ids of users and projects, names of hosts, and all that people write in free words. Ids of routers, networks and ports,
and addresses, are not in it: without them there is nothing to replay.
"""

from __future__ import annotations

#: What stands for the value of a key in a trace; see :class:`l3agent.rpc.rpc_trace.RpcTrace`.
REDACTED_KEYS: dict[str, str] = {
    **dict.fromkeys(("host", "binding:host_id", "gw_port_host", "dest_host", "hostname"), "host"),
    **dict.fromkeys(("project_id", "tenant_id", "user_id", "project", "tenant", "user"), "owner"),
    **dict.fromkeys(("name", "description", "dns_name", "dns_domain", "fqdn", "tags"), "name"),
    **dict.fromkeys(("project_name", "tenant_name", "user_name"), "name"),
}
