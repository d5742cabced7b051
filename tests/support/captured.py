# SPDX-License-Identifier: Apache-2.0
"""Captured conversations between a real server and a real agent, and a stand-in server that speaks bare AMQP.

Messages are read and written as they are on the wire, without oslo.messaging, so the version, the arguments and the
context of what an agent asks are seen as the real server would see them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import eventlet
import kombu

FOLDER = Path(__file__).parents[1] / "wire"
TOPICS = ("q-l3-plugin", "q-reports-plugin")
_JSON = {"content_type": "application/json", "content_encoding": "utf-8", "serializer": None}


@dataclass(frozen=True)
class Asked:
    """One request of an agent, as it was on the wire."""

    topic: str
    method: str
    version: str
    args: Mapping[str, Any]
    context: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Conversation:
    """What was said, in the order of time."""

    host: str
    context: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...]

    def calls(self, method: str | None = None) -> list[Mapping[str, Any]]:
        """Return what the real agent asked, of one method or all."""
        return [event for event in self.events if "call" in event and method in (None, event["call"])]

    def casts(self) -> Iterator[tuple[Mapping[str, Any], list[Any] | None]]:
        """Pair each cast with the routers the server answered with from then on; None where nothing was asked."""
        answers = [event for event in self.events if event.get("call") == "sync_routers"]
        for event in self.events:
            if "cast" not in event:
                continue
            later = [answer for answer in answers if answer["at_s"] >= event["at_s"]]
            if later:
                answers.remove(later[0])
            yield event, later[0]["result"] if later else None

    def last_answer(self) -> list[Any]:
        """Return the routers as the server saw them at the end."""
        routers: list[Any] = self.calls("sync_routers")[-1]["result"]
        return routers


def conversation(name: str) -> Conversation:
    """Read a captured conversation."""
    wire = json.loads((FOLDER / f"{name}.json").read_text())
    return Conversation(wire["host"], wire["context"], tuple(wire["events"]))


def traced(path: Path, context: Mapping[str, Any]) -> Conversation:
    """Read what option ``rpc_trace_file`` of an agent wrote, so that a :class:`StandIn` can say it again.

    :param context: of the messages; a trace has none.
    """
    header, *events = map(json.loads, path.read_text().splitlines())
    host = header["host"]
    for event in events:
        if "cast" in event and "out" not in event:
            event |= {"exchange": "neutron", "routing_key": f"{event['topic']}.{host}"}
    said = (event for event in events if "out" not in event and "error" not in event)
    return Conversation(host, context, tuple(said))


class StandIn:
    """Answers agents like the real server, and sends casts as it does.

    :param url: of the broker, as oslo.messaging has it.
    :param routers: what ``sync_routers`` and ``get_router_ids`` answer with; changed at any time.
    :param lacks: methods that this server does not have, with the error it answers with.
    """

    def __init__(self, url: str, routers: list[Any] | None = None, *, lacks: Mapping[str, str] | None = None) -> None:
        self.routers = routers or []
        self.lacks = dict(lacks or {})
        self.asked: list[Asked] = []
        #: What was told of floating IPs, by id; once ``keeps_statuses`` is set the answers say it, DOWN of the others.
        self.statuses: dict[str, str] = {}
        self.keeps_statuses = False
        #: Answers of a method, in place of ours: called with its arguments.
        self.answers: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "get_router_ids": lambda args: [router["id"] for router in self.routers],
            "sync_routers": self._sync_routers,
            "report_state": lambda args: "alive",
            "get_host_ha_router_count": lambda args: 0,
            "update_floatingip_statuses": lambda args: self.statuses.update(args["fip_statuses"]),
        }
        self._url = url.replace("rabbit://", "amqp://", 1)
        self._connection: Any = None
        self._casting: Any = None
        self._greenthread: Any = None

    def start(self) -> None:
        """Consume; what is left in the queues by others is thrown away."""
        self._connection = kombu.Connection(self._url)
        # A connection has one greenthread: this one sends casts, the other takes requests and answers them.
        self._casting = kombu.Connection(self._url)
        self._exchange = kombu.Exchange("neutron", type="topic", durable=False)
        queues = [
            kombu.Queue(topic, self._exchange, topic, durable=False, channel=self._connection.channel())
            for topic in TOPICS
        ]
        for queue in queues:
            queue.declare()
            queue.purge()
        consumer = kombu.Consumer(self._connection.channel(), queues, on_message=self._take, no_ack=True, accept=None)
        consumer.consume()
        self._greenthread = eventlet.spawn(self._run)

    def stop(self) -> None:
        """Consume no more."""
        self._greenthread.kill()
        for connection in (self._connection, self._casting):
            with eventlet.Timeout(5, False), suppress(Exception):
                connection.release()

    def cast(self, event: Mapping[str, Any], context: Mapping[str, Any]) -> None:
        """Send a captured cast with a captured context."""
        message = {**context, "method": event["cast"], "args": event["args"], "version": event["version"]}
        _publish(self._casting, event["exchange"], event["routing_key"], message)

    def methods(self) -> list[str]:
        """Return what was asked, by name."""
        return [asked.method for asked in self.asked]

    def arguments(self, method: str) -> list[Mapping[str, Any]]:
        """Return the arguments of all requests of a method."""
        return [asked.args for asked in self.asked if asked.method == method]

    def _sync_routers(self, args: Mapping[str, Any]) -> list[Any]:
        routers = [router for router in self.routers if router["id"] in args["router_ids"]]
        if not self.keeps_statuses:
            return routers
        return [router | {"_floatingips": self._with_status(router.get("_floatingips", []))} for router in routers]

    def _with_status(self, floating_ips: list[Any]) -> list[Any]:
        return [fip | {"status": self.statuses.get(fip["id"], "DOWN")} for fip in floating_ips]

    def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                self._connection.drain_events(timeout=1)

    def _take(self, message: Any) -> None:
        envelope = json.loads(message.body)
        assert envelope["oslo.version"] == "2.0"
        body = json.loads(envelope["oslo.message"])
        context = {key: value for key, value in body.items() if key.startswith("_context_")}
        # The real server answers nobody without this.
        assert context["_context_is_admin"] is True, context
        topic = message.delivery_info["routing_key"]
        self.asked.append(Asked(topic, body["method"], body["version"], body["args"], context))
        if "_msg_id" in body:
            result, failure = self._answer(body["method"], body["version"], body["args"])
            answer = {"result": result, "failure": failure, "ending": True, "_msg_id": body["_msg_id"]}
            _publish(self._connection, "", body["_reply_q"], answer)

    def _answer(self, method: str, version: str, args: Mapping[str, Any]) -> tuple[Any, str | None]:
        for lacking in (method, f"{method} {version}"):
            if lacking in self.lacks:
                return None, _failure(self.lacks[lacking], method)
        try:
            return self.answers[method](args), None
        except Exception as exc:
            return None, _failure(type(exc).__name__, str(exc))


def _publish(connection: Any, exchange: str, routing_key: str, message: Mapping[str, Any]) -> None:
    inner = json.dumps({**message, "_unique_id": uuid.uuid4().hex})
    body = json.dumps({"oslo.version": "2.0", "oslo.message": inner})
    channel = connection.channel()
    kombu.Producer(channel).publish(body, exchange=exchange, routing_key=routing_key, **_JSON)
    channel.close()


def _failure(kind: str, message: str) -> str:
    """Return an error as oslo.messaging puts it into an answer."""
    return json.dumps(
        {
            "class": kind,
            "module": "oslo_messaging.rpc.dispatcher",
            "message": message,
            "tb": [],
            "args": [],
            "kwargs": {},
        }
    )
