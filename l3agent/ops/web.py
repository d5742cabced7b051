# SPDX-License-Identifier: Apache-2.0
"""The pages by path: metrics, health, status as JSON, and the status page."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from importlib import resources
from typing import Any

from l3agent.ops.health import Health
from l3agent.ops.history import History
from l3agent.ops.http import Pages, Response
from l3agent.ops.metrics import Metrics
from l3agent.ops.status_json import StatusEncoder

_JSON = "application/json"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


def build_pages(
    host: str,
    status: Callable[[], Mapping[str, Any]],
    topology: Callable[[], bytes],
    metrics: Metrics,
    health: Health,
    history: History,
) -> Pages:
    """Return the pages of an agent by path.

    :param host: name of the node.
    :param status: returns the status, as the operation ``status`` of the control socket does.
    :param topology: returns the topology as JSON.
    """
    encoder = StatusEncoder()
    return {
        "/": status_page,
        "/metrics": lambda: Response(metrics.render(), _PROMETHEUS),
        "/healthz": lambda: _probe_response(health.liveness_failures()),
        "/readyz": lambda: _probe_response(health.readiness_failures()),
        "/status.json": lambda: Response(encoder.encode(status()), _JSON),
        "/topology.json": lambda: Response(topology(), _JSON),
        "/history.json": lambda: _json_response({"host": host, **_probe_failures(health), **history.values()}),
    }


@functools.cache
def status_page() -> Response:
    """Return the status page. Its policy permits only its own script and style, and requests to this agent."""
    text = resources.files("l3agent.ops").joinpath("status.html").read_text(encoding="utf-8")
    hashes = {tag: " ".join(_csp_hash(part) for part in _elements(tag, text)) for tag in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; connect-src 'self'; "
        f"img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Response(text.encode(), "text/html; charset=utf-8", headers={"Content-Security-Policy": policy})


def _elements(tag: str, text: str) -> list[str]:
    return re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)


def _csp_hash(part: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"


def _probe_response(reasons: list[str]) -> Response:
    if not reasons:
        return Response(b"ok\n")
    return Response("".join(f"{reason}\n" for reason in reasons).encode(), status="503 Service Unavailable")


def _probe_failures(health: Health) -> dict[str, list[str]]:
    return {"liveness_failures": health.liveness_failures(), "readiness_failures": health.readiness_failures()}


def _json_response(value: Any) -> Response:
    return Response(json.dumps(value).encode(), _JSON)
