# SPDX-License-Identifier: Apache-2.0
"""The request context of each message, and its serializer.

Neutron's servers of all releases read these keys: ``is_admin`` and ``roles`` determine the privileges, ``request_id``
appears in logs, all others may be null.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar

import oslo_messaging
from oslo_context.context import RequestContext

ADMIN_ROLES = ("admin", "member", "reader")


class Context(RequestContext):  # type: ignore[misc]
    """A request context with its creation time. It is passed explicitly and never stored in the thread."""

    FROM_DICT_EXTRA_KEYS: ClassVar = ["timestamp"]

    def __init__(self, *, timestamp: str | None = None, overwrite: bool = False, **values: Any) -> None:
        super().__init__(overwrite=overwrite, **values)
        self.timestamp = timestamp or str(datetime.datetime.now(datetime.UTC).replace(tzinfo=None))

    def update_store(self) -> None:
        """Do nothing: log lines of later requests would have the request id of a context stored in the thread."""

    def to_dict(self) -> dict[str, Any]:
        """Return the values to send, as JSON types."""
        values: dict[str, Any] = super().to_dict()
        values.update(
            timestamp=self.timestamp,
            user_id=self.user_id,
            user_name=self.user_name,
            project_name=self.project_name,
            tenant=self.project_id,
            tenant_id=self.project_id,
            tenant_name=self.project_name,
            # neutron-lib's context adds these two: an administrator may see and set everything.
            has_global_access=self.is_admin,
            can_set_project_id=self.is_admin,
        )
        return values


def admin_context() -> Context:
    """Return a new context of an administrator, with its own request id. Use one per call."""
    return Context(is_admin=True, roles=list(ADMIN_ROLES))


class ContextSerializer(oslo_messaging.Serializer):  # type: ignore[misc]
    """Serializes contexts. Entities are unchanged, since the drivers encode them as JSON."""

    def serialize_entity(self, ctxt: Context, entity: Any) -> Any:
        """Return the argument or result unchanged."""
        return entity

    def deserialize_entity(self, ctxt: Context, entity: Any) -> Any:
        """Return the argument or result unchanged."""
        return entity

    def serialize_context(self, ctxt: Context) -> dict[str, Any]:
        """Return the values of a context for the message."""
        return ctxt.to_dict()

    def deserialize_context(self, ctxt: Mapping[str, Any]) -> Context:
        """Return the context of a message; unknown keys are ignored."""
        context: Context = Context.from_dict(dict(ctxt))
        return context
