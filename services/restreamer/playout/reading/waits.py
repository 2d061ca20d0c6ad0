"""Warnings while the output waits for a source: a file that is read too slowly, or takes long to open."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Final

from services.restreamer.model import Packet
from services.restreamer.playout.terms import Reporter, Warned
from shared.messages.restreams import Item, PlaylistCursor

SLOW_NS: Final = 2_000_000_000
OPENING_NS: Final = 5_000_000_000
GAP_NS: Final = 1_000_000_000


class Metered:
    """Yields packets; `reading` is true while the next one is awaited."""

    def __init__(self, packets: Iterable[Packet] = ()) -> None:
        self.reading = False
        self._flow = self._read(packets)

    def __iter__(self) -> Iterator[Packet]:
        return self._flow

    def close(self) -> None:
        """Yield no more, and release the packets' source."""
        self._flow.close()

    def _read(self, packets: Iterable[Packet]) -> Generator[Packet, None, None]:
        try:
            self.reading = True
            for packet in packets:
                self.reading = False
                yield packet
                self.reading = True
        finally:
            self.reading = False


class Waits:
    """Adds up how long the output has waited for each file, and reports it once. Called by the sending thread."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._about: object = None
        self._waited = 0
        self._last = 0
        self._told = False

    def note(self, now: int, about: object, item: Item | None, cursor: PlaylistCursor | None, *, opening: bool) -> None:
        """Record that at `now` (ns) there is nothing to send, as `about`, a file of the list, is awaited.

        An encoder that is away is no fault of a job's output.
        """
        if about is not self._about:
            self._about, self._waited, self._told = about, 0, False
        elif now - self._last < GAP_NS:
            self._waited += now - self._last
        self._last = now
        if self._told or item is None or item.source.kind == "job":
            return
        if self._waited < (OPENING_NS if opening else SLOW_NS):
            return
        self._told = True
        text = "the source answers slowly" if opening else "the source is slower than real time, or down"
        self._report(Warned(f"{text}: the output waits for it", cursor.item if cursor else None, item.source.shown))
