"""Who holds what: instances that no other can be taken for, and the epoch that fences a holder (ADR 17).

An epoch is the revision of a write into the bucket `leases`: it only rises, also when a lease has run out and is made
anew.
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
_STATE, _START = 0, 19  # of what follows the name in /proc/<pid>/stat: fields 3 and 22, proc_pid_stat(5)


class EpochPassed(Permanent):
    """Another has taken over what this one held; what it holds is no longer this one's to write."""


class Holder(Record):
    """A process that holds something.

    Host names and process ids repeat themselves: containers on a host's network are each number 1 of one name. So
    `token` is random and tells a process from all others, and only within one `machine` (a kernel's boot and a
    numbering of processes) do `pid` and `started` say whether it lives.
    """

    instance: str = Field(description="Its name, for people")
    host: str = ""
    pid: int = 0
    machine: str = Field("", description="Boot id and PID namespace; empty: not known, so that it is never found dead")
    started: int = Field(0, description="When the process began, in ticks since the boot; 0: not known")
    token: str = Field("", description="Random, one a process")

    @classmethod
    def here(cls, instance: str, host: str) -> Holder:
        """Name this process."""
        found = _stat(_SELF)
        began = int(found[_START]) if found else 0
        return cls(
            instance=instance, host=host, pid=os.getpid(), machine=machine(), started=began, token=uuid.uuid4().hex
        )


def machine() -> str:
    """Name the kernel's boot and the numbering of processes that this process lives in; "" when it cannot be told."""
    try:
        return f"{_BOOT.read_text().strip()} {_NUMBERING.readlink().name}"
    except OSError:
        return ""


def is_local(holder: Holder) -> bool:
    """Tell whether a holder's process can be looked at from here."""
    return bool(holder.machine and holder.pid) and holder.machine == machine()


def is_gone(holder: Holder, me: Holder) -> bool:
    """Tell for sure that a holder is no more: its process ended, and its number is free or another's.

    Whoever had the name and the number of `me` on its machine and is not itself came before it. False says nothing of
    a holder on another machine or in another numbering of processes.
    """
    is_me = bool(holder.token) and holder.token == me.token
    if is_me or not holder.pid or not holder.machine or holder.machine != me.machine:
        return False
    if holder.pid == me.pid:
        return holder.instance == me.instance
    return has_ended(holder.pid, holder.started)


def has_ended(pid: int, started: int) -> bool:
    """Tell for sure that a process of this machine that started then (0: not known) is no more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's: there is a process of this number
    found = _stat(Path(f"/proc/{pid}")) if _numbers_match() else None
    if found is None:
        return False
    return found[_STATE] in _GONE_STATES or (started != 0 and int(found[_START]) != started)


def _numbers_match() -> bool:
    """Tell whether /proc shows this process's numbering; it may be that of the namespace around it."""
    try:
        return _SELF.readlink().name == str(os.getpid())
    except OSError:
        return False


def _stat(process: Path) -> list[str] | None:
    """Read /proc/<pid>/stat from the state on; the name before it may hold anything."""
    try:
        return (process / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
