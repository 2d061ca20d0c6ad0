"""Limits for sources that fail for a while, and what is read from them."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from services.restreamer.model import Media, Packet
from tests.support.source_server import Server
from tests.support.sources import QUICK, check_times, numbers, seconds
from tests.support.waiting import wait_until

PATIENT = replace(QUICK, patience=timedelta(seconds=20), block=1 << 12, ahead=1)
BRIEF = replace(QUICK, block=1 << 12, ahead=1)
"""Small blocks, so that a small file takes several requests."""
HASTY = replace(BRIEF, patience=timedelta(milliseconds=400))
"""For a source that stays away: it is given up soon, but after many tries."""


def seen(found: Media, start: float = 0) -> list[int]:
    """Read all to the end, over seams."""
    out: list[int] = []
    at: int | None = seconds(start)
    try:
        while at is not None:
            packets = list(found.packets(at))
            check_times(packets)
            out += numbers(found.video, packets)
            at = found.resumes
        return out
    finally:
        found.close()


def collect(packets: Iterable[Packet], into: list[Packet]) -> None:
    """Append packets to `into`, which keeps them after an error, too."""
    for packet in packets:
        into.append(packet)  # noqa: PERF402


def comes_back(server: Server, after: int = 3) -> threading.Thread:
    """Bring the server back after it has refused `after` requests."""

    def work() -> None:
        wait_until(lambda: server.refused >= after, 30)
        server.down = False

    thread = threading.Thread(target=work)
    thread.start()
    return thread
