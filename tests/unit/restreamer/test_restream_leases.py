"""When a run may be taken from its holder, by an injected clock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from services.restreamer.leases import SETTLING, SILENT, Me, Sights
from shared.messages.restreams import PlaylistCursor, PlayoutRecord

ME = Me("one", "here", os.getpid())
KEY = "main.r"


class HandClock:
    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def now_ms(self) -> int:
        return self.ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self.ns

    def wait(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


def place(holder: str, at: int, host: str = "far", pid: int = 1) -> PlayoutRecord:
    return PlayoutRecord(
        account="main", restream="4" * 32, run=1, holder=holder, host=host, pid=pid, cursor=PlaylistCursor(), at_ms=at
    )


def test_a_run_is_free_without_a_holder() -> None:
    sights = Sights(ME, HandClock())
    assert sights.free(KEY)
    sights.seen(KEY, place("", 1))
    assert sights.free(KEY)


def test_a_holder_that_writes_keeps_it_and_a_silent_one_loses_it() -> None:
    clock = HandClock()
    sights = Sights(ME, clock)
    for at in range(10):
        sights.seen(KEY, place("two", at))
        assert not sights.free(KEY)
        clock.wait(1)
    sights.seen(KEY, place("two", 9))  # the same again says nothing
    clock.wait(SILENT.total_seconds() - 1.1)
    assert not sights.free(KEY)
    clock.wait(0.1)
    assert sights.free(KEY)


def test_silence_means_nothing_while_the_broker_is_away_and_for_some_time_after() -> None:
    clock = HandClock()
    sights = Sights(ME, clock)
    sights.seen(KEY, place("two", 1))
    sights.answering(well=False)
    clock.wait(60)
    assert not sights.free(KEY)
    sights.answering(well=True)
    clock.wait((SETTLING + SILENT).total_seconds() - 0.1)
    sights.answering(well=True)
    assert not sights.free(KEY)
    clock.wait(0.1)
    assert sights.free(KEY)


def test_a_process_of_this_host_that_is_gone_is_not_waited_for() -> None:
    sights = Sights(ME, HandClock())
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    sights.seen(KEY, place("two", 1, "here", gone.pid))
    assert sights.free(KEY)
    sights.seen(KEY, place("two", 1, "elsewhere", gone.pid))
    assert not sights.free(KEY)
    sights.seen(KEY, place("two", 1, "here", os.getppid()))
    assert not sights.free(KEY)
    sights.seen(KEY, place("one", 1, "here", os.getpid()))  # of this name and number before it was started again
    assert sights.free(KEY)


def test_neither_a_host_s_name_nor_a_process_s_number_makes_a_holder_this_one() -> None:
    me = Me.here("node-1")
    mine = place("node-1", 1, me.host, me.pid).model_copy(update={"started": me.started, "token": me.token})
    assert me.owns(mine)
    assert not me.owns(mine.model_copy(update={"token": "another process"}))
    assert me.host != Me("node-1", socket.gethostname(), me.pid).host, "the boot tells machines of one name apart"


def test_a_number_that_another_process_has_got_since_is_a_dead_holder_s() -> None:
    parent = os.getppid()
    began = int(Path(f"/proc/{parent}/stat").read_text().rsplit(")", 1)[1].split()[19])
    sights = Sights(ME, HandClock())
    held = place("two", 1, "here", parent)
    sights.seen(KEY, held.model_copy(update={"started": began}))
    assert not sights.free(KEY)
    sights.seen(KEY, held.model_copy(update={"started": began - 1}))
    assert sights.free(KEY)
