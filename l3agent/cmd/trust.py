# SPDX-License-Identifier: Apache-2.0
"""Trust in configuration files: l3-dataplane accepts only harmless options from a file that a non-root user can write.

The agent's user may name any file on the command line of l3-dataplane, and often owns the files of Neutron. Options of
such a file must not give that user any privilege.

Review: can an option of an untrusted file name a file to read, write or run, a NIC, or a namespace directory?
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

#: Options that an untrusted file may set, by group: no path, no program, no NIC, and only bounded numbers.
_UNTRUSTED_ALLOWED = {
    "DEFAULT": ("interface_driver", "external_network_bridge", "ovs_use_veth", "send_arp_for_ha", "debug"),
    "OVS": ("integration_bridge", "ovsdb_connection", "ovsdb_timeout"),
    "dataplane": ("announce_interval", "count_traffic", "pool_size", "repair_drift"),
}
#: Options of the data plane that only a trusted file may set, by group.
_TRUSTED_ONLY = {
    "DEFAULT": ("log_config_append",),
    "OVS": ("ssl_key_file", "ssl_cert_file", "ssl_ca_cert_file"),
    "dataplane": ("log_file", "netns_path", "allow_private_netns_path"),
    "standalone": ("topology",),
}
#: Options that place the socket. It is created with the rights of the owner of the file that sets them.
_SOCKET = {"DEFAULT": ("state_path",), "dataplane": ("socket",)}


@dataclass(frozen=True, slots=True)
class Restricted:
    """The options of a data plane after the check of its configuration files.

    :param conf: the options to use.
    :param ignored: ignored options of untrusted files, as ``[group] name``.
    :param socket_owner: user id with whose rights the socket is created; None for the owner of its directory.
    """

    conf: Any
    ignored: tuple[str, ...] = ()
    socket_owner: int | None = None


def is_trusted(path: str | os.PathLike[str]) -> bool:
    """Return True if only root or this process's user can change what ``path`` leads to.

    The file and every directory above it are owned by one of them and writable by no other user, on the path as written
    and on the path without symlinks. In a directory with the sticky bit (unlink(2)), such as /tmp, other users cannot
    replace a file of root. In a user namespace that maps a single user id, every file is trusted.
    """
    if _has_one_user():
        return True
    written, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))
    try:
        return all(map(_is_protected, {written, *written.parents, real, *real.parents}))
    except OSError:
        return False


def _is_protected(path: Path) -> bool:
    found = path.lstat()
    if found.st_uid not in (0, os.geteuid()):
        return False
    if stat.S_ISLNK(found.st_mode):
        return True  # the mode of a symlink has no meaning; its directory and its target are checked as well
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return True
    group_writes = found.st_mode & stat.S_IWGRP and found.st_gid != 0
    return not (group_writes or found.st_mode & stat.S_IWOTH)


def _has_one_user() -> bool:
    """Return True if a single user id is mapped into this user namespace (user_namespaces(7))."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return len(lines) == 1 and lines[0].split()[2] == "1"


def restrict(conf: Any, read: Callable[[list[str]], Any]) -> Restricted:
    """Return the options that the files are permitted to set.

    :param conf: the options as read from all files.
    :param read: returns the options as read from the given files alone.
    """
    files = list(_files(conf))
    untrusted = {path for path in files if not is_trusted(path)}
    if not untrusted:
        return Restricted(conf)
    trusted = read([path for path in files if path not in untrusted])
    for group, name in _options(_UNTRUSTED_ALLOWED):
        trusted.set_override(name, _value(conf, group, name), group=_group_key(group))
    socket_owner = _socket_owner(conf, trusted, untrusted)
    if socket_owner is not None:
        trusted.set_override("socket", conf.dataplane.socket, group="dataplane")
    guarded = [*_options(_TRUSTED_ONLY), *(_options(_SOCKET) if socket_owner is None else ())]
    ignored = [
        f"[{group}] {name}"
        for group, name in guarded
        if _source(conf, group, name) in untrusted and _value(conf, group, name) != _value(trusted, group, name)
    ]
    return Restricted(trusted, tuple(ignored), socket_owner)


def _socket_owner(conf: Any, trusted: Any, untrusted: Collection[str]) -> int | None:
    """Return the owner of the untrusted file that places the socket into a directory of the same owner, else None."""
    if conf.dataplane.socket == trusted.dataplane.socket:
        return None
    sources = {_source(conf, group, name) for group, name in _options(_SOCKET)} & set(untrusted)
    try:
        owners = {os.stat(path).st_uid for path in sources if path is not None}
        owners.add(os.stat(os.path.dirname(conf.dataplane.socket) or ".").st_uid)
    except OSError:
        return None
    return owners.pop() if len(owners) == 1 else None


def _files(conf: Any) -> Iterator[str]:
    yield from map(str, conf.config_file or [])
    for directory in conf.config_dir or []:
        yield from map(str, sorted(Path(directory).glob("*.conf")))


def _options(table: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    return ((group, name) for group, names in table.items() for name in names)


def _group_key(group: str) -> str | None:
    return None if group == "DEFAULT" else group


def _value(conf: Any, group: str, name: str) -> Any:
    return getattr(conf if group == "DEFAULT" else conf[group], name)


def _source(conf: Any, group: str, name: str) -> str | None:
    """Return the file that sets an option, None if none does."""
    location = conf.get_location(name, _group_key(group))
    return location.detail if location is not None and location.location is cfg.Locations.user else None
