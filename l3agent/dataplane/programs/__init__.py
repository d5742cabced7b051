# SPDX-License-Identifier: Apache-2.0
"""Supervision of long-running programs (keepalived, radvd, haproxy) by the data plane, in a thread of its own.

``program`` and ``lifecycle`` are pure: values and the state machine of one program. ``files``, ``process``, ``record``,
``output`` and ``spawn`` are the edges; ``supervised`` joins them for one program; ``supervisor`` is the thread.

Programs outlive the data plane; the next one adopts them. Each program has a directory of root::

    <root>/<name>@<owner>/     its files, whose path among its arguments identifies its processes
        .record                the process and the value it was started with
        .output                the pipe that it writes to

Review: if the data plane is killed at this line, does the next one find the program, exactly once?
"""
