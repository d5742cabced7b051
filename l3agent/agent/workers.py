# SPDX-License-Identifier: Apache-2.0
"""Workers: take the next router of the queue, fetch it, apply it, publish the result.

The pool of the agent runs :meth:`Workers.process_next` in as many greenthreads as it has; the queue gives a router to
one of them at a time. A failure stays with its router, which the queue retries.
"""

from __future__ import annotations

import time

from greenlet import GreenletExit
from oslo_log import log as logging

from l3agent.agent.batch_fetch import BatchFetcher
from l3agent.agent.in_flight import InFlight
from l3agent.agent.mass_delete import MassDeleteGuard
from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.resource_update import Action, ResourceUpdate
from l3agent.agent.results import UpdateResult, UpdateResults
from l3agent.agent.routers import Routers
from l3agent.agent.sync_requests import SyncRequests
from l3agent.exceptions import TransientError
from l3agent.rpc import FailureLog

LOG = logging.getLogger(__name__)


class Workers:
    """The steps of a worker.

    :param fetcher: fetches payloads from the server.
    :param routers: applies and removes.
    :param in_flight: tracks the router of each worker.
    :param results: gets the result of each update.
    :param failures: log of failed attempts.
    :param guard: limits removals of single routers that answers do not name.
    :param sync_requests: a full sync verifies removals that the guard refuses.
    :param verify_delay: seconds before that full sync.
    """

    def __init__(
        self,
        queue: ResourceProcessingQueue,
        fetcher: BatchFetcher,
        routers: Routers,
        in_flight: InFlight,
        results: UpdateResults,
        failures: FailureLog,
        guard: MassDeleteGuard,
        sync_requests: SyncRequests,
        *,
        verify_delay: float,
    ) -> None:
        self._queue = queue
        self._fetcher = fetcher
        self._routers = routers
        self._in_flight = in_flight
        self._results = results
        self._failures = failures
        self._guard = guard
        self._sync_requests = sync_requests
        self._verify_delay = verify_delay

    def process_next(self) -> None:
        """Process one router. Exceptions are logged here, since the pool prints them to stderr at best."""
        update: ResourceUpdate | None = None
        try:
            with self._queue.each_update_to_next_router() as update:
                self._in_flight.start(update.id)
                result = self._process(update)
            self._results.publish(result)
        except GreenletExit:
            raise
        except BaseException as exc:
            if update is None:
                LOG.exception("A worker failed before it had a router")
            else:
                self._publish_failure(update, exc)
        finally:
            self._in_flight.finish()
            if update is not None:
                self._sync_requests.mark_processed(update.id)

    def _process(self, update: ResourceUpdate) -> UpdateResult:
        started = time.monotonic()
        timings = {"wait": started - update.created_at}
        if update.needs_fetch:
            update = self._fetcher.fetch(update)
            timings["fetch"] = time.monotonic() - started
            self._in_flight.record_fetch()
        match update.action:
            case Action.UPDATE:
                return self._routers.update(update, timings)
            case Action.DELETE | Action.UNSCHEDULE:
                return self._routers.remove(update, timings)
            case Action.MISSING:
                return self._remove_missing(update, timings)
            case Action.REAPPLY:
                return self._routers.reapply(update, timings)

    def _remove_missing(self, update: ResourceUpdate, timings: dict[str, float]) -> UpdateResult:
        """Remove a router that an answer does not name; leave further ones to a full sync, which the guard checks."""
        if self._guard.allow_one(len(self._routers.info)):
            return self._routers.remove(update, timings)
        reason = f"router {update.id} is missing, as other routers were recently"
        self._sync_requests.request(reason, delay=self._verify_delay)
        return UpdateResult(update.id, update.action.value, "skipped", context=update.context)

    def _publish_failure(self, update: ResourceUpdate, error: BaseException) -> None:
        if isinstance(error, TransientError):
            text, log, message = str(error), self._failures.warning, "router %s: %s; retrying in %.1f s"
        else:
            text = f"{type(error).__name__}: {error}"
            log, message = self._failures.exception, "router %s: the worker failed: %s; retrying in %.1f s"
        log(text, message, update.id, text, self._queue.seconds_to_retry(update.id), context=update.context)
        info = self._routers.info.get(update.id)
        name = "" if info is None else info.name
        result = UpdateResult(update.id, update.action.value, "retry", name=name, error=text, context=update.context)
        self._results.publish(result)
