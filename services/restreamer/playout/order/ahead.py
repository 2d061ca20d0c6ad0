"""Opens what comes next while something else plays: the first file from a position on that can be opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from threading import Event, Lock, Thread

from services.restreamer.model import Media, SourceError
from services.restreamer.playout.order.programme import FileRange, Programme, locate, nothing_there, spans_of
from services.restreamer.playout.pictures.still import StillMedia
from services.restreamer.playout.terms import Library, Reporter, Telling, Warned
from shared.media.transcode.overlay import Overlay
from shared.messages.restreams import Encoding, Item, PlaylistCursor, Source


@dataclass(frozen=True, slots=True)
class Listing:
    """A list in play, its number, and what it is encoded to."""

    programme: Programme
    number: int = 0
    encoding: Encoding | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A file ready to play at `cursor`; a live event has no item. `stop` ends its reads."""

    media: Media
    cursor: PlaylistCursor
    spans: tuple[FileRange, ...]
    span: FileRange
    listing: Listing
    stop: Event
    item: Item | None = None
    mark: Overlay | None = None

    @property
    def more(self) -> bool:
        """Return whether ranges of the file follow."""
        return self.cursor.range + 1 < len(self.spans)

    def following(self) -> Opened | None:
        """Return the rest of the range after a seam in the file, or the file's next range; None after the last."""
        seam, item = self.media.resumes, self.item
        if item is None:
            return None if seam is None else replace(self, span=FileRange(max(seam, self.span.start), self.span.end))
        spans = tuple(spans_of(item, self.media)) if seam is not None else self.spans
        end = spans[self.cursor.range].end
        if seam is not None and (end is None or seam < end):
            cursor = self.cursor.model_copy(update={"at": max(seam, 0)})
            return replace(self, cursor=cursor, spans=spans, span=FileRange(max(seam, self.span.start), end))
        found = locate(spans[self.cursor.range + 1 :], PlaylistCursor(), self.media.duration)
        if found is None:
            return None
        number = self.cursor.range + 1 + found[0]
        cursor = self.cursor.model_copy(update={"range": number, "at": found[1].start})
        return replace(self, cursor=cursor, spans=spans, span=found[1])


MOST_ROUNDS = 10
"""How often a list of limited loops is tried when nothing of it can be played any more."""


@dataclass(slots=True)
class Failures:
    """Files that failed since one was played, the first of them at `first`. `rounds`: passes in which all failed.

    `waited`: a search took long, and the next one may, too. `unmarked`: items that play without watermark.
    """

    count: int = 0
    text: str = ""
    rounds: int = 0
    played: bool = False
    lasting: bool = True
    first: PlaylistCursor | None = None
    waited: bool = False
    unmarked: set[int] = field(default_factory=set)

    def add(self, text: str, cursor: PlaylistCursor, *, lasting: bool) -> None:
        """Count one more failure. `lasting`: a retry is useless."""
        if not self.count:
            self.first, self.lasting = cursor, True
        self.count, self.text, self.lasting = self.count + 1, text, self.lasting and lasting
        self.waited = self.waited or not lasting

    def shown(self) -> None:
        """Record that something is shown."""
        self.count, self.played = 0, True

    def over(self) -> None:
        """Record a success: a file has played for a while, or to its end."""
        self.shown()
        self.rounds = 0

    def forget(self) -> None:
        """Reset the counts, as something else is to be played."""
        self.count = self.rounds = 0
        self.unmarked.clear()


@dataclass(slots=True)
class Ahead:
    """One search for a file to play, in a thread of its own. `ready` is called at its end, from that thread.

    When `done` and nothing is `opened`, the list is over, or nothing in it can be played (`failed`).
    """

    library: Library
    report: Reporter
    ready: Callable[[], None]
    failures: Failures
    listing: Listing
    cursor: PlaylistCursor | None
    live: Source | None = None
    first_pause: timedelta = timedelta(seconds=1)
    longest_pause: timedelta = timedelta(minutes=1)
    opened: Opened | None = None
    failed: bool = False
    done: bool = False
    stop: Event = field(default_factory=Event)
    opening: Item | None = None
    """The file that is being opened."""
    _lock: Lock = field(default_factory=Lock)

    def start(self) -> Ahead:
        """Start the search."""
        Thread(target=self._run, name="restream-open", daemon=True).start()
        return self

    def cancel(self) -> None:
        """Cancel the search, and close what it opened."""
        with self._lock:
            self.stop.set()
            opened = self.opened
        if opened is not None:
            opened.media.close()

    def _run(self) -> None:
        try:
            opened = self._open_live(self.live) if self.live is not None else self._search()
            with self._lock:
                self.opened = None if self.stop.is_set() else opened
            if self.opened is None and opened is not None:
                opened.media.close()
        except BaseException:
            self.failed = True
            raise
        finally:
            self.done = True
            self.ready()

    def _search(self) -> Opened | None:
        """Try files in order of play."""
        while not self.stop.is_set() and not self._gives_up() and self.cursor is not None:
            item = self.listing.programme.items[self.cursor.item]
            self.opening = item
            try:
                opened = self._open(item, self.cursor)
            except SourceError as error:
                self._failed(error, item)
            else:
                if opened is not None:
                    return opened
            finally:
                self.opening = None
            self.cursor = self.listing.programme.after_item(self.cursor)
        self.failed = self.failures.count > 0 and (self._all_failed() or not self.failures.played)
        return None

    def _open(self, item: Item, cursor: PlaylistCursor) -> Opened | None:
        """Open a file; None when nothing of it is left to play at the position. SourceError."""
        mark = self._mark(item, cursor)
        library = self.library
        if isinstance(library, Telling):
            library = library.telling(self._teller(item, cursor))
        media = library.open(item.source, self.stop)
        if media.video is None and media.audio is not None:
            media = StillMedia(media)
        try:
            spans, found = _found(item, media, cursor)
        except SourceError:
            media.close()
            raise
        if found is None:
            media.close()
            return None
        at = cursor.model_copy(update={"range": found[0], "at": found[1].start})
        return Opened(media, at, spans, found[1], self.listing, self.stop, item, mark)

    def _mark(self, item: Item, cursor: PlaylistCursor) -> Overlay | None:
        """Fetch a file's watermark; if that fails, the file plays without, which is reported once."""
        if item.watermark is None:
            return None
        try:
            picture = self.library.picture(item.watermark.source, self.stop)
        except SourceError as error:
            self.failures.waited = self.failures.waited or not error.lasting
            if cursor.item not in self.failures.unmarked:
                self.failures.unmarked.add(cursor.item)
                self._teller(item, cursor)(f"its watermark is left out: {error}")
            return None
        self.failures.unmarked.discard(cursor.item)
        how = item.watermark
        return Overlay(picture.pixels, how.corner, how.margin, how.scale, how.opacity)

    def _open_live(self, source: Source) -> Opened | None:
        try:
            media = self.library.open(source, self.stop)
        except SourceError as error:
            self.report(Warned(f"the live event cannot be played: {error}", shown=source.shown))
            return None
        if media.video is None:
            media.close()
            self.report(Warned("the live event has no pictures", shown=source.shown))
            return None
        span = FileRange(media.duration or 0, None)
        return Opened(media, self.cursor or PlaylistCursor(), (span,), span, self.listing, self.stop)

    def _failed(self, error: SourceError, item: Item) -> None:
        if self.stop.is_set() or self.cursor is None:
            return
        self.failures.add(str(error), self.cursor, lasting=error.lasting)
        self.report(Warned(str(error), self.cursor.item, item.source.shown, skipped=True))

    def _teller(self, item: Item, cursor: PlaylistCursor) -> Callable[[str], None]:
        """Return a function that reports warnings of a file until it is closed."""

        def tell(text: str) -> None:
            if not self.stop.is_set():
                self.report(Warned(text, cursor.item, item.source.shown))

        return tell

    def _all_failed(self) -> bool:
        return self.failures.count >= len(self.listing.programme.items)

    def _gives_up(self) -> bool:
        """Return whether to give up after a whole list of failures; if not, wait and retry it, in the same loop."""
        failures = self.failures
        if not self._all_failed():
            return False
        if self.listing.programme.loops and (failures.rounds + 1 >= MOST_ROUNDS or self._hopeless()):
            self.failed = True
            return True
        pause = min(self.first_pause * 2 ** min(failures.rounds, 16), self.longest_pause)
        failures.count, failures.rounds = 0, failures.rounds + 1
        self.cursor = failures.first or self.cursor
        self.stop.wait(pause.total_seconds())
        return False

    def _hopeless(self) -> bool:
        """Return whether a list of limited loops fails at once: it plays only once, or never played and never will."""
        return self.listing.programme.loops == 1 or (self.failures.lasting and not self.failures.played)


def _found(
    item: Item, media: Media, cursor: PlaylistCursor
) -> tuple[tuple[FileRange, ...], tuple[int, FileRange] | None]:
    """Find an item's ranges and where to start in them. SourceError where there is nothing to play."""
    if media.video is None:
        raise SourceError("the file has neither pictures nor sound")
    spans = tuple(spans_of(item, media))
    found = locate(spans, cursor, media.duration)
    if found is None and not cursor.at:
        raise SourceError(nothing_there(spans, media))
    return spans, found
