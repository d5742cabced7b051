# SPDX-License-Identifier: Apache-2.0
"""An agent without OpenStack: a server for one topology file, and simulated hosts.

::

    topology.yaml -> document -> topology (routers, routes) -> entities     text to values, or a list of all problems
    entities -> l3_plugin -> router_payload -> endpoints                    calls of agents, with Neutron's payloads
    watch -> l3_plugin.replace -> notifier                                  a changed file becomes casts to agents
                               -> hosts                                     and changes of simulated hosts

Review: does the agent receive anything that a real server would not send? Can an invalid file change anything?
"""
