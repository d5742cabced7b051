# SPDX-License-Identifier: Apache-2.0
"""The request context that travels with every message, and its serializer.

The keys are those Neutron's servers of all releases read: ``is_admin`` and ``roles`` decide, ``request_id`` is for
logs, all others may be null.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, ClassVar

import oslo_messaging
from oslo_context.context import RequestContext

ADMIN_ROLES = ("admin", "member", "reader")


class Context(RequestContext):  # type: ignore[misc]
    """A request context that knows when it was made. Never stored in the thread: it is passed on by hand."""

    FROM_DICT_EXTRA_KEYS: ClassVar = ["timestamp"]

    def __init__(self, *, timestamp: str | None = None, overwrite: bool = False, **values: Any) -> None:
        super().__init__(overwrite=overwrite, **values)
        self.timestamp = timestamp or str(datetime.datetime.now(datetime.UTC).replace(tzinfo=None))

    def update_store(self) -> None:
        """Do nothing: a context left in the thread would name its request in the log lines of later ones."""

    def to_dict(self) -> dict[str, Any]:
        """Return the values that travel, as JSON knows them."""
        values: dict[str, Any] = super().to_dict()
        values.update(
            timestamp=self.timestamp,
            user_id=self.user_id,
            user_name=self.user_name,
            project_name=self.project_name,
            tenant=self.project_id,
            tenant_id=self.project_id,
            tenant_name=self.project_name,
            # Two that neutron-lib's context adds: an administrator may see and set everything.
            has_global_access=self.is_admin,
            can_set_project_id=self.is_admin,
        )
        return values


def admin_context() -> Context:
    """Return a fresh context of an administrator with a request id of its own: one per call, by custom."""
    return Context(is_admin=True, roles=list(ADMIN_ROLES))


class ContextSerializer(oslo_messaging.Serializer):  # type: ignore[misc]
    """Context to message and back. Entities pass as they are: the drivers encode them as JSON."""

    def serialize_entity(self, ctxt: Context, entity: Any) -> Any:
        """Return the argument or result as it is."""
        return entity

    def deserialize_entity(self, ctxt: Context, entity: Any) -> Any:
        """Return the argument or result as it is."""
        return entity

    def serialize_context(self, ctxt: Context) -> dict[str, Any]:
        """Return the values of a context that go into the message."""
        return ctxt.to_dict()

    def deserialize_context(self, ctxt: Mapping[str, Any]) -> Context:
        """Return the context a message carries; keys that we do not know are dropped."""
        context: Context = Context.from_dict(dict(ctxt))
        return context
