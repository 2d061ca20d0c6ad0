"""The thread that sends for all restreams of a process (ADR 14).

One thread per restream would wake 30 times a second for some microseconds of work, with cold caches each time. One
thread for all takes a fifth of that time, as long as their pictures are due at the same moments: see `in_step`.
"""

from __future__ import annotations

import time
from heapq import heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Final, Protocol

from services.restreamer.model import FLICKS

SLACK_NS: Final = 500_000
"""Work that is due within this time is done at once."""
LONGEST_BEAT: Final = FLICKS // 20
"""The longest delay of a send to be in step with other restreams."""
USUAL_BEAT: Final = FLICKS // 30
_NS: Final = 1_000_000_000


class Paced(Protocol):
    """Recurring work. The one sending thread makes all calls, and none may block."""

    def run(self) -> int | None:
        """Do what is due; return the ns until the next call, None when the work is over."""
        ...


class Pace:
    """Runs the work registered with `call`, each when it asked for it."""

    def __init__(self) -> None:
        self._called: SimpleQueue[Paced] = SimpleQueue()
        self._due: list[tuple[int, int, Paced]] = []
        self._turn: dict[Paced, int] = {}  # the number of each one's only valid entry in `_due`
        self._numbers = count()
        self._lock = Lock()
        self._thread: Thread | None = None

    def call(self, paced: Paced) -> None:
        """Run this one now, whether or not it is registered. Any thread may call."""
        self._called.put(paced)
        with self._lock:
            if self._thread is None:
                self._begin()

    def _begin(self) -> None:
        self._thread = Thread(target=self._work, name="restream-send", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        """Run all until one raises, which ends that one and this thread: a new thread runs the others."""
        try:
            while True:
                self._wait()
                self._run_due(time.monotonic_ns() + SLACK_NS)
        finally:
            with self._lock:
                self._begin()

    def _wait(self) -> None:
        """Wait until something is due or called."""
        try:
            if not self._due:
                self._enter(self._called.get())
            elif (wait := self._due[0][0] - time.monotonic_ns()) > SLACK_NS:
                self._enter(self._called.get(timeout=wait / _NS))
            while True:
                self._enter(self._called.get_nowait())
        except Empty:
            return

    def _enter(self, paced: Paced, due_ns: int = 0) -> None:
        number = self._turn[paced] = next(self._numbers)
        heappush(self._due, (due_ns, number, paced))

    def _run_due(self, until_ns: int) -> None:
        while self._due and self._due[0][0] <= until_ns:
            _, number, paced = heappop(self._due)
            if self._turn.get(paced) != number:
                continue  # it was called in between
            del self._turn[paced]
            wait = paced.run()
            if wait is not None:
                self._enter(paced, time.monotonic_ns() + wait)


PACE: Final = Pace()
"""The pace of this process."""


def in_step(ns: int, beat: int) -> int:
    """Return the first moment from `ns` on that is due in every restream whose pictures last `beat` flicks."""
    beat = beat if 0 < beat <= LONGEST_BEAT else USUAL_BEAT
    late = -(ns * FLICKS // _NS) % beat
    return ns + late * _NS // FLICKS
