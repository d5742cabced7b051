# SPDX-License-Identifier: Apache-2.0
"""Composition of an agent: its parts, in the order of their construction.

A part receives earlier parts, or functions of them, and nothing that is assigned later; so no two parts refer to each
other. The layers, lowest first::

    records (queue, sync_requests, results, ...)    nothing
    plugin                                          the transport
    statuses, state_cache, fetcher, in_flight       plugin, queue
    routers                                         statuses, state_cache, contact, the data plane
    maintenance, warm_start                         routers, queue, sync_requests
    registration                                    plugin, routers, maintenance
    full_sync                                       registration, warm_start, routers, guard
    workers                                         fetcher, routers, guard, results
    L3NATAgent                                      all: endpoint, start, stop
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import eventlet
from oslo_log import log as logging

from l3agent.agent.batch_fetch import BatchFetcher
from l3agent.agent.fip_statuses import FloatingIPStatuses
from l3agent.agent.full_sync import FullSync
from l3agent.agent.in_flight import InFlight
from l3agent.agent.maintenance import Maintenance
from l3agent.agent.mass_delete import MassDeleteGuard
from l3agent.agent.orphans import Orphans
from l3agent.agent.plugin_api import TOPIC, L3PluginApi
from l3agent.agent.processing_queue import ResourceProcessingQueue
from l3agent.agent.registration import Registration
from l3agent.agent.removals import Removals
from l3agent.agent.resource_update import PRIORITY_FULL_SYNC, PRIORITY_RPC, Action
from l3agent.agent.results import UpdateResults
from l3agent.agent.router_info import RouterInfo
from l3agent.agent.routers import Dataplane, Routers
from l3agent.agent.server_contact import ServerContact
from l3agent.agent.state_cache import StateCache
from l3agent.agent.sync_requests import SyncRequests
from l3agent.agent.warm_start import WarmStart
from l3agent.agent.workers import Workers
from l3agent.model.router_keys import router_ids
from l3agent.rpc import Client, FailureLog

LOG = logging.getLogger(__name__)

#: Files below ``state_path``: the state cache and the ids of the paused routers.
STATE_CACHE_FILE, PAUSED_FILE = "l3-agent-routers.jsonl", "l3-agent-paused.json"
#: Workers that only process updates without a fetch: a deleted router is removed although the server does not answer.
_NEVER_FETCHING = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The parts that only record: they send nothing and know no other part.

    :param queue: the updates of routers.
    :param sync_requests: the requested full syncs.
    :param results: the results of updates.
    :param failures: log of failed attempts of workers and full syncs, by cause.
    :param orphans: routers of other agents in the kernel, removed after their grace period.
    :param mass_delete_guard: holds removals that an answer of the server may order by mistake.
    :param contact: since when the server has considered this agent alive.
    """

    queue: ResourceProcessingQueue
    sync_requests: SyncRequests
    results: UpdateResults
    failures: FailureLog
    orphans: Orphans
    mass_delete_guard: MassDeleteGuard
    contact: ServerContact


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentParts:
    """The parts of an agent.

    :param records: the parts that only record.
    :param plugin: calls the server.
    :param statuses: reports the statuses of floating IPs.
    :param state_cache: keeps payloads for the next start.
    :param in_flight: the routers that workers process.
    :param routers: the routers of this node.
    :param maintenance: routers that an operator paused, and the drain of the node.
    :param warm_start: serves the routers of the state cache while the server does not answer.
    :param registration: state reports.
    :param full_sync: runs the requested full syncs.
    :param workers: the steps of a worker.
    """

    records: Records
    plugin: L3PluginApi
    statuses: FloatingIPStatuses
    state_cache: StateCache
    in_flight: InFlight
    routers: Routers
    maintenance: Maintenance
    warm_start: WarmStart
    registration: Registration
    full_sync: FullSync
    workers: Workers


def compose(conf: Any, host: str, *, dataplane: Dataplane, transport: Any) -> AgentParts:
    """Construct the parts of an agent; start nothing.

    :param conf: the parsed options.
    :param host: name of this node towards the server.
    :param dataplane: applies states to the kernel.
    :param transport: transport to the server.
    """
    options = conf.l3agent
    records = _records(conf)
    queue, requests = records.queue, records.sync_requests
    client = Client(transport, TOPIC, timeout=None, max_timeout=conf.rpc_response_max_timeout)
    plugin = L3PluginApi(client, host)
    statuses = FloatingIPStatuses(plugin.update_floatingip_statuses, **_backoff(conf))
    cache_path = os.path.join(conf.state_path, STATE_CACHE_FILE)
    state_cache = StateCache(cache_path, host, interval=options.state_cache_interval)
    fetcher = BatchFetcher(plugin.sync_routers, queue, batch=options.fetch_batch)
    in_flight = InFlight(conf.dataplane.timeout + conf.rpc_response_max_timeout, fetcher.is_awaited)
    refetch = partial(_update_later, queue, options.retry_min)
    routers = Routers(conf, dataplane, statuses, state_cache, refetch, records.contact)
    paused_path = os.path.join(conf.state_path, PAUSED_FILE)
    maintenance = Maintenance(paused_path, routers, queue, dataplane, requests.mark_processed)
    is_needed = partial(_has_no_full_sync, requests)
    warm_start = WarmStart(
        routers, state_cache, queue, dataplane, is_needed=is_needed, retry_interval=options.retry_min
    )
    registration = _registration(conf, host, transport, records, plugin, routers, maintenance, dataplane)
    full_sync = _full_sync(conf, records, plugin, routers, registration, warm_start, dataplane)
    workers = _workers(records, fetcher, routers, in_flight, options.retry_min)
    dataplane.on_new_process(partial(_reapply_all, routers.info, queue))
    return AgentParts(
        records=records,
        plugin=plugin,
        statuses=statuses,
        state_cache=state_cache,
        in_flight=in_flight,
        routers=routers,
        maintenance=maintenance,
        warm_start=warm_start,
        registration=registration,
        full_sync=full_sync,
        workers=workers,
    )


def _backoff(conf: Any) -> dict[str, float]:
    return {"retry_min": conf.l3agent.retry_min, "retry_max": conf.l3agent.retry_max}


def _records(conf: Any) -> Records:
    options = conf.l3agent
    max_fetching = max(1, options.router_workers - _NEVER_FETCHING)
    return Records(
        queue=ResourceProcessingQueue(
            retry_min=options.retry_min, retry_max=options.retry_max, max_fetching=max_fetching
        ),
        sync_requests=SyncRequests(),
        results=UpdateResults(),
        failures=FailureLog(LOG),
        orphans=Orphans(grace_period=options.orphan_grace_period),
        mass_delete_guard=MassDeleteGuard(
            share=options.mass_delete_share, confirm_interval=options.mass_delete_confirm_interval
        ),
        contact=ServerContact(limit=2 * conf.AGENT.report_interval),
    )


def _registration(
    conf: Any,
    host: str,
    transport: Any,
    records: Records,
    plugin: L3PluginApi,
    routers: Routers,
    maintenance: Maintenance,
    dataplane: Dataplane,
) -> Registration:
    return Registration(
        conf,
        host,
        transport,
        contact=records.contact,
        routers=routers.info.values,
        ha_routers=plugin.get_host_ha_router_count,
        on_ha_routers=partial(_report_ha_ports_down, plugin, dataplane),
        admin=lambda: maintenance.state,
        on_revived=partial(records.sync_requests.request, "the server had considered this agent dead"),
    )


def _workers(
    records: Records, fetcher: BatchFetcher, routers: Routers, in_flight: InFlight, verify_delay: float
) -> Workers:
    return Workers(
        records.queue,
        fetcher,
        routers,
        in_flight,
        records.results,
        records.failures,
        records.mass_delete_guard,
        records.sync_requests,
        verify_delay=verify_delay,
    )


def _full_sync(
    conf: Any,
    records: Records,
    plugin: L3PluginApi,
    routers: Routers,
    registration: Registration,
    warm_start: WarmStart,
    dataplane: Dataplane,
) -> FullSync:
    removals = Removals(records.mass_delete_guard, records.orphans, records.sync_requests, routers.is_managed)
    return FullSync(
        plugin,
        records.queue,
        records.sync_requests,
        local_ids=partial(_local_routers, routers.info, dataplane),
        rank=routers.rank,
        report_state=registration.ensure_registered,
        on_failure=warm_start.reapply_all,
        removals=removals,
        failures=records.failures,
        interval=conf.l3agent.resync_interval,
        **_backoff(conf),
    )


def _update_later(queue: ResourceProcessingQueue, delay: float, router_id: str) -> None:
    """Enqueue another fetch of a router after a delay in seconds."""
    eventlet.spawn_after(delay, queue.add, router_id, Action.UPDATE, PRIORITY_RPC)


def _has_no_full_sync(requests: SyncRequests) -> bool:
    return not requests.completed


def _reapply_all(routers: Mapping[str, RouterInfo], queue: ResourceProcessingQueue) -> None:
    """Enqueue all desired states again, for a new data-plane process."""
    for info in routers.values():
        if info.state is not None:
            queue.add(info.id, Action.REAPPLY, PRIORITY_FULL_SYNC, sequence=info.sequence)


def _local_routers(routers: Mapping[str, RouterInfo], dataplane: Dataplane) -> set[str]:
    """Return the ids of the routers of this agent and of those in the kernel."""
    return routers.keys() | router_ids(dataplane.inventory())


def _report_ha_ports_down(plugin: L3PluginApi, dataplane: Dataplane) -> None:
    """Report the HA ports of this node down after a reboot, when the kernel has no router."""
    if not router_ids(dataplane.inventory()):
        plugin.update_all_ha_network_port_statuses()
