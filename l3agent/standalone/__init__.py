# SPDX-License-Identifier: Apache-2.0
"""An agent without a cloud: a small server for one topology file, stand-ins for machines, and the demo.

::

    topology.yaml -> document -> topology (routers, routes) -> entities     text to values, or every problem
    entities -> plugin -> payload -> endpoints                              what the agents ask, in Neutron's own words
    watch -> plugin.replace -> notifier                                     a changed file becomes the server's casts
                            -> hosts                                        and the difference of the stand-ins

Review: does the agent learn anything from here that a real server would not tell it? Can a bad file change anything?
"""
