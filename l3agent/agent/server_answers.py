# SPDX-License-Identifier: Apache-2.0
"""Validation of router ids and router payloads from the server: one log line per message with invalid elements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from oslo_log import log as logging

from l3agent.exceptions import InvalidAnswer
from l3agent.model.validators import is_uuid

LOG = logging.getLogger(__name__)

#: Length at which a log line truncates an invalid value.
_SHOWN_MAX = 120


class RouterAnswer(NamedTuple):
    """The valid part of an answer to ``sync_routers``.

    :param routers: payloads by id.
    :param is_complete: False if elements were rejected; then a router that is not named is not necessarily gone.
    """

    routers: dict[str, Mapping[str, Any]]
    is_complete: bool


class IdAnswer(NamedTuple):
    """The valid part of an answer to ``get_router_ids``; see :class:`RouterAnswer`."""

    ids: list[str]
    is_complete: bool


def router_answer(answer: object) -> RouterAnswer:
    """Return the payloads of an answer to ``sync_routers`` that have a UUID; reject the other elements.

    :raises InvalidAnswer: the answer is not a list.
    """
    found: dict[str, Mapping[str, Any]] = {}
    rejected: list[tuple[int, object]] = []
    for place, element in enumerate(_elements("sync_routers", answer)):
        if isinstance(element, Mapping) and is_uuid(element.get("id")):
            found[element["id"]] = element
        else:
            rejected.append((place, element.get("id") if isinstance(element, Mapping) else element))
    _log_rejected("sync_routers", rejected)
    return RouterAnswer(found, not rejected)


def id_answer(answer: object) -> IdAnswer:
    """Return the UUIDs of an answer to ``get_router_ids``; reject the other elements.

    :raises InvalidAnswer: the answer is not a list.
    """
    elements = _elements("get_router_ids", answer)
    rejected = [(place, element) for place, element in enumerate(elements) if not is_uuid(element)]
    _log_rejected("get_router_ids", rejected)
    return IdAnswer([element for element in elements if is_uuid(element)], not rejected)


def notified_ids(method: str, value: object, *, key: str = "id") -> list[str]:
    """Return the router ids of a notification: a list of UUIDs, or of payloads from servers before Liberty.

    What is not a UUID is logged once and dropped: no later attempt can succeed.

    :param key: where in a payload the id is.
    """
    if not isinstance(value, list | tuple):
        LOG.warning("%s: %s: expected a list of router ids; ignored", method, _shown(value))
        return []
    ids: list[Any] = [element.get(key) if isinstance(element, Mapping) else element for element in value]
    _log_rejected(method, [(place, router_id) for place, router_id in enumerate(ids) if not is_uuid(router_id)])
    return [router_id for router_id in ids if is_uuid(router_id)]


def _elements(method: str, answer: object) -> list[Any]:
    if not isinstance(answer, list | tuple):
        raise InvalidAnswer(method, answer, "a list")
    return list(answer)


def _log_rejected(method: str, rejected: list[tuple[int, object]]) -> None:
    if rejected:
        place, value = rejected[0]
        LOG.warning(
            "%s: %d elements ignored, the first is [%d]: %s: expected the UUID of a router",
            method,
            len(rejected),
            place,
            _shown(value),
        )


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_MAX else f"{shown[: _SHOWN_MAX - 3]}..."
