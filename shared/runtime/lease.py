"""Holders of leases, which cannot be mistaken for each other, and the epoch that fences a holder (ADR 17).

An epoch is the revision of a write into the bucket `leases`: it only rises, also when a lease has expired and is
created again.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

from pydantic import Field

from shared.errors import Permanent
from shared.messages.base import Record

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_NUMBERING: Final = Path("/proc/self/ns/pid")
_SELF: Final = Path("/proc/self")
_GONE_STATES: Final = frozenset({"Z", "X"})
_STATE, _START = 0, 19  # index after the name in /proc/<pid>/stat: fields 3 and 22, proc_pid_stat(5)


class EpochPassed(Permanent):
    """Another holder has taken over the lease; this one must not write under it any more."""


class Holder(Record):
    """A process that holds a lease.

    Host names and process ids are not unique: containers on a host's network all have its name and process id 1. So
    `token` is random and identifies the process, and `pid` and `started` show only within one `machine` (a kernel's
    boot and a PID namespace) whether it lives.
    """

    instance: str = Field(description="Its name, for people")
    host: str = ""
    pid: int = 0
    machine: str = Field("", description="Boot id and PID namespace; empty: not known, so that it is never found dead")
    started: int = Field(0, description="When the process began, in ticks since the boot; 0: not known")
    token: str = Field("", description="Random, one a process")

    @classmethod
    def here(cls, instance: str, host: str) -> Holder:
        """Return the holder that stands for this process."""
        found = _stat(_SELF)
        began = int(found[_START]) if found else 0
        return cls(
            instance=instance, host=host, pid=os.getpid(), machine=machine(), started=began, token=uuid.uuid4().hex
        )


def machine() -> str:
    """Return this process's boot id and PID namespace; "" when they cannot be read."""
    try:
        return f"{_BOOT.read_text().strip()} {_NUMBERING.readlink().name}"
    except OSError:
        return ""


def is_local(holder: Holder) -> bool:
    """Return whether a holder's process is visible from this process."""
    return bool(holder.machine and holder.pid) and holder.machine == machine()


def is_gone(holder: Holder, me: Holder) -> bool:
    """Return True when a holder has certainly ended: its process id is free or another process's.

    A holder with the machine, instance and process id of `me`, but another token, is its predecessor and has ended.
    False means nothing for a holder on another machine or in another PID namespace.
    """
    is_me = bool(holder.token) and holder.token == me.token
    if is_me or not holder.pid or not holder.machine or holder.machine != me.machine:
        return False
    if holder.pid == me.pid:
        return holder.instance == me.instance
    return has_ended(holder.pid, holder.started)


def has_ended(pid: int, started: int) -> bool:
    """Return True when a process of this machine that started then (0: unknown) has certainly ended."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's process has this id
    found = _stat(Path(f"/proc/{pid}")) if _numbers_match() else None
    if found is None:
        return False
    return found[_STATE] in _GONE_STATES or (started != 0 and int(found[_START]) != started)


def _numbers_match() -> bool:
    """Return whether /proc shows this process's PID namespace; it may show the parent namespace."""
    try:
        return _SELF.readlink().name == str(os.getpid())
    except OSError:
        return False


def _stat(process: Path) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the state on; the name before it may hold any character."""
    try:
        return (process / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
