"""Decides what is played next, also after requests to skip, seek or insert."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from services.restreamer.playout.order.ahead import Ahead, Failures, Listing, Opened
from services.restreamer.playout.order.wishes import Insert, Jump
from services.restreamer.playout.reading.splice import Part
from services.restreamer.playout.terms import Closing, Library, Reporter, Warned
from shared.messages.restreams import PlaylistCursor


class Course:
    """The list in play and the search for the next file. `wake` is called when a search is done, from its thread."""

    def __init__(
        self, library: Library, report: Reporter, wake: Callable[[], None], listing: Listing, moved: int,
        first_pause: timedelta,
    ) -> None:  # fmt: skip
        self._library, self._report, self._wake, self._pause = library, report, wake, first_pause
        self.listing, self.moved = listing, moved
        self.failures = Failures()
        self.next: Ahead | None = None
        self.urgent = False
        """What is next does not wait for the end of what plays; the output is cut for it."""
        self.back: PlaylistCursor | None = None
        """Where the list goes on after a live event."""
        self._returns = True

    def ready(self) -> bool:
        """Return whether the search is done."""
        return self.next is not None and self.next.done

    def interrupts(self) -> bool:
        """Return whether what plays is to be left now. A live event that could not be opened is dropped."""
        if not (self.urgent and self.next is not None and self.next.done):
            return False
        if self.next.live is not None and self.next.opened is None:
            self.forget()
            return False
        return True

    def seek(self, cursor: PlaylistCursor | None, *, urgent: bool) -> None:
        """Search for what to play from a position on."""
        self.forget()
        self.urgent = urgent
        self._start(Ahead(self._library, self._report, self._wake, self.failures, self.listing, cursor))

    def forget(self) -> None:
        """Cancel the search for the next file."""
        if self.next is not None:
            self.next.cancel()
        self.next, self.urgent = None, False

    def close(self) -> None:
        """Cancel the search and close the library."""
        self.forget()
        if isinstance(self._library, Closing):
            self._library.close()

    def after(self, opened: Opened) -> PlaylistCursor | None:
        """Return the position that follows a file."""
        if opened.item is None:
            return self.back if self._returns else None
        if opened.listing is not self.listing:
            return self.listing.programme.begin()
        return self.listing.programme.after_item(opened.cursor)

    def renew(self, listing: Listing, current: Opened | None) -> bool:
        """Take another list; return whether a live event delays it."""
        self.listing = listing
        self.failures.forget()
        if not self._inserted(current):
            return False
        self.back = listing.programme.begin()
        return True

    def jump(self, wish: Jump, playing: Part | None, current: Opened | None) -> None:
        """Skip or seek from what plays, or is about to play."""
        if wish.move.number <= self.moved:
            return
        programme, base = self.listing.programme, self._base(playing, current)
        self.failures.forget()
        self.moved = wish.move.number
        try:
            if base is None and wish.move.item < 0:
                cursor: PlaylistCursor | None = programme.begin()
            else:
                cursor = programme.moved(base or programme.begin(), wish.move)
        except ValueError as error:
            self._report(Warned(str(error)))
            return
        if self._inserted(current):
            self.back = cursor
        else:
            self.seek(cursor, urgent=True)

    def insert(self, wish: Insert, current: Opened | None) -> None:
        """Start opening a live event, or leave it."""
        self._returns = wish.back
        if wish.source is not None:
            if current is None and (self.next is None or self.next.live is None):
                self.back = self.next.cursor if self.next is not None else None
            self.forget()
            self.urgent = True
            self._start(
                Ahead(
                    self._library, self._report, self._wake, self.failures, self.listing, self.back, wish.source
                )
            )  # fmt: skip
        elif current is not None and current.item is None:
            self.seek(self.after(current), urgent=True)
        elif self._inserted(current):
            self.forget()
            if current is None:
                self.seek(self.back, urgent=False)

    def _base(self, playing: Part | None, current: Opened | None) -> PlaylistCursor | None:
        """Return the position that a move counts from; None where it is in another list."""
        if self._inserted(current):
            return self.back
        if self.urgent and self.next is not None:
            return self.next.cursor
        if playing is not None and (playing.spec_number, playing.moved) == (self.listing.number, self.moved):
            return playing.cursor
        if current is not None and current.listing is self.listing:
            return current.cursor  # it was requested last, and is still to be played
        return self.next.cursor if playing is None and self.next is not None else None

    def _inserted(self, current: Opened | None) -> bool:
        """Return whether a live event plays, or is about to play."""
        return (current is not None and current.item is None) or (self.next is not None and self.next.live is not None)

    def _start(self, ahead: Ahead) -> None:
        ahead.first_pause = self._pause
        self.next = ahead.start()
