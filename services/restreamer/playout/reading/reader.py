"""The reader's thread: reads the files of a list into the ring, and carries out requests (ADR 14)."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import replace
from datetime import timedelta
from threading import Event, Thread

import av

from services.restreamer.model import FLICKS, SourceError
from services.restreamer.playout.order.ahead import Ahead, Opened
from services.restreamer.playout.order.course import Course
from services.restreamer.playout.order.wishes import Insert, Jump, NewList, Wish
from services.restreamer.playout.reading.range_player import NothingThereError, RangePlayer
from services.restreamer.playout.reading.splice import Cut, Splicer
from services.restreamer.playout.reading.waits import Waits
from services.restreamer.playout.sending.ring import Ring
from services.restreamer.playout.terms import Ended, Reporter, Warned
from services.restreamer.sources.apart.kept import Keep
from shared.errors import MediaError
from shared.media.transcode.shape import Shape
from shared.media.transcode.sound_run import SoundRun
from shared.messages.restreams import PlaylistCursor

MARGIN = FLICKS * 4 // 10
"""How far ahead of what was sent a cut is made: the new file's first picture takes that long."""
TOGETHER = 64
"""Packets that are handed over at once while the ring has enough; otherwise each one is."""
EARLY = 15 * FLICKS
"""How long before a file's end the next one is opened."""
EARLIER = 45 * FLICKS
"""The same after the search for a file of the list took long."""
SHORT = FLICKS
"""A file that was left before it had played this long counts as not played."""


class _Interrupted(Exception):  # noqa: N818  names what happened
    """Something else is to be played now."""


class Reader:
    """Reads what is to be played. `takes`, `start`, `wish`, `stop` and `join` are for other threads."""

    def __init__(self, course: Course, ring: Ring, report: Reporter, takes: frozenset[str]) -> None:
        self.takes = takes
        self._course, self._ring, self._report = course, ring, report
        self._splicer = Splicer()
        self._keep = Keep()
        self._run: SoundRun | None = None
        self._shape: Shape | None = None
        self._current: Opened | None = None
        self._feed: RangePlayer | None = None
        self._waits = Waits(report)
        self._files = self._passed = 0
        self._begun = 0  # where the file's first picture is
        self._wishes: deque[Wish] = deque()
        self._stop = Event()
        self._thread = Thread(target=self._work, name="restream-read", daemon=True)

    def start(self, cursor: PlaylistCursor) -> None:
        """Start reading at a position of the list."""
        self._course.seek(cursor, urgent=False)
        self._thread.start()

    def wish(self, wish: Wish) -> None:
        """Queue a request; it is carried out soon."""
        with self._ring.changed:
            self._wishes.append(wish)
            self._ring.changed.notify_all()

    def hurry(self, now: int) -> None:
        """Leave a file whose source keeps the output waiting, if something else is requested; record the wait."""
        self._note_wait(now)
        with self._ring.changed:
            leave = any(not isinstance(wish, NewList) or not wish.wait_current for wish in self._wishes)
        current = self._current
        if leave and current is not None:
            current.stop.set()

    def _note_wait(self, now: int) -> None:
        """Record that there is nothing to send at `now` (ns)."""
        current, feed, ahead = self._current, self._feed, self._course.next
        if current is not None:
            if feed is not None and feed.reading:
                self._waits.note(now, current.media, current.item, current.cursor, opening=False)
        elif ahead is not None and ahead.opening is not None:
            self._waits.note(now, ahead.opening, ahead.opening, ahead.cursor, opening=True)

    def opened(self) -> None:
        """Handle the end of the search for the next file."""
        current, ahead = self._current, self._course.next
        if self._course.urgent and current is not None and ahead is not None and ahead.opened is not None:
            current.stop.set()  # a read that waits for its source would hold up the request
        with self._ring.changed:
            self._ring.changed.notify_all()

    def stop(self) -> None:
        """Ask the thread to end soon."""
        self._stop.set()
        for holder in (self._current, self._course.next):
            if holder is not None:
                holder.stop.set()
        with self._ring.changed:
            self._ring.changed.notify_all()

    def join(self, within: timedelta) -> bool:
        """Wait for the thread's end; return whether it came."""
        if self._thread.ident is not None:
            self._thread.join(within.total_seconds())
        return not self._thread.is_alive()

    def _work(self) -> None:
        try:
            while not self._stop.is_set():
                opened = self._await_next()
                if opened is not None:
                    self._play(opened)
        except BaseException:
            self._ring.finish(Ended(failed=True, reason="the reader broke"))
            raise
        finally:
            self._course.close()
            self._keep.close()

    def _await_next(self) -> Opened | None:
        """Wait for a file to play, or for something else to happen."""
        course = self._course
        with self._ring.changed:
            self._ring.changed.wait_for(lambda: self._stop.is_set() or bool(self._wishes) or course.ready())
        self._heed()
        ahead = course.next
        if ahead is None or not ahead.done or self._stop.is_set():
            return None
        course.next = None
        if ahead.opened is None:
            self._over(ahead)
        return ahead.opened

    def _over(self, ahead: Ahead) -> None:
        """Handle the end of the list, or a list of which nothing can be played; a later request may still come."""
        if ahead.live is not None:
            self._course.seek(self._course.back, urgent=False)
            return
        if self._course.urgent:
            self._cut()
        elif self._run is not None:
            self._run.finish()
        self._run, self._course.urgent = None, False
        self._ring.put(self._splicer.take(rest=True))
        failures = self._course.failures
        more = " any more" if failures.played else ""
        failed = f"nothing of the list can be played{more}: {failures.text}" if ahead.failed else ""
        self._ring.finish(Ended(failed=ahead.failed, reason=failed))

    def _play(self, opened: Opened) -> None:
        """Play a file, range by range."""
        self._files += 1
        self._begun = self._splicer.picture_end
        part: Opened | None = opened
        left = False
        while part is not None:
            self._current = part
            if self._stop.is_set():
                part.stop.set()  # `stop` may have come before it could see what is current
            try:
                self._play_range(part)
            except _Interrupted:
                left = True
                break
            except NothingThereError as error:
                self._leave(part, str(error))
            except SourceError as error:
                self._leave(part, str(error), lasting=error.lasting)
                break
            except (MediaError, av.error.FFmpegError) as error:
                self._leave(part, f"the file cannot be encoded: {error}")
                break
            part = part.following()
        self._close(opened, left=left)

    def _close(self, opened: Opened, *, left: bool) -> None:
        """Close a file and search for what follows it, unless it was `left` for something else."""
        self._current = self._feed = None
        opened.stop.set()
        opened.media.close()
        if self._stop.is_set():
            return
        if self._course.next is None:
            self._course.seek(self._course.after(opened), urgent=self._course.urgent)
        elif self._course.next.live is not None and opened.item is not None:
            self._course.back = opened.cursor if left else self._course.after(opened)

    def _leave(self, opened: Opened, text: str, *, lasting: bool = True) -> None:
        """Report why a file is not played further, unless that was requested."""
        with contextlib.suppress(_Interrupted):
            self._heed()
        if self._stop.is_set() or self._course.urgent:
            return
        if self._splicer.picture_end - self._begun < SHORT:
            self._course.failures.add(text, opened.cursor, lasting=lasting)
        item = opened.item
        shown = item.source.shown if item else ""
        self._report(Warned(text, opened.cursor.item if item else None, shown, skipped=item is not None))

    def _play_range(self, opened: Opened) -> None:
        with contextlib.closing(RangePlayer(opened, self._shape, self.takes, self._keep)) as feed:
            self._feed = feed
            self._play_feed(feed)

    def _play_feed(self, feed: RangePlayer) -> None:
        opened = feed.opened
        feed.open()
        self._make_way(feed)
        self._shape = feed.verdict.shape
        self._run = feed.begin(self._splicer, feed.part(self._files, self._course.moved), self._run)
        try:
            for _ in feed.play():
                self._passed += 1
                if self._passed % TOGETHER and self._ring.ample and not self._attention():
                    continue
                self._note_shown(feed, whole=False)
                self._look_ahead(feed)
                self._hand_over()
            self._note_shown(feed, whole=True)
        except SourceError:
            feed.flush()
            raise
        finally:
            following = opened.following()
            feed.end(following.cursor if following is not None else self._course.after(opened))
        self._hand_over()

    def _note_shown(self, feed: RangePlayer, *, whole: bool) -> None:
        """Record that a file plays. `whole`: it was played to its end, which counts for a short one, too."""
        if feed.shown and (whole or self._splicer.picture_end - self._begun >= SHORT):
            self._course.failures.over()
        elif feed.shown:
            self._course.failures.shown()

    def _make_way(self, feed: RangePlayer) -> None:
        """Cut what was to be played instead. After a live event the list goes on where it was cut."""
        course = self._course
        if course.urgent:
            cut = self._cut()
            if feed.live and cut.part is not None and not cut.part.live:
                course.back = cut.cursor
        course.urgent = False
        if feed.live:
            feed.opened = replace(feed.opened, cursor=course.back or feed.opened.cursor)

    def _hand_over(self) -> None:
        """Put what is ready into the ring, and wait while it is full."""
        entries = self._splicer.take()
        if entries:
            self._ring.put(entries)
        while True:
            self._heed()
            if self._stop.is_set() or self._course.interrupts():
                raise _Interrupted
            if entries:
                self._ring.wait_for_room(self._attention)
            if not entries or not self._attention():
                return

    def _attention(self) -> bool:
        """Return whether waiting for room must end."""
        return self._stop.is_set() or bool(self._wishes) or self._course.interrupts()

    def _look_ahead(self, feed: RangePlayer) -> None:
        """Open the next file in time."""
        opened = feed.opened
        if self._course.next is not None or feed.live or opened.more or not feed.shown:
            return
        ends = [end for end in (opened.span.end, opened.media.duration) if end is not None]
        if not ends or feed.reached > min(ends) - (EARLIER if self._course.failures.waited else EARLY):
            self._course.seek(self._course.after(opened), urgent=False)

    def _cut(self) -> Cut:
        """Cut the output near what is sent now."""
        self._ring.put(self._splicer.take(rest=True))  # the rest ends clean, what was put before may not
        cut = self._ring.cut(MARGIN)
        self._go_on(cut)
        return cut

    def _go_on(self, cut: Cut) -> None:
        self._splicer.cut(cut)
        self._begun = cut.picture_end
        self._run = None

    def _heed(self) -> None:
        """Carry out the queued requests."""
        while self._wishes and not self._stop.is_set():
            wish = self._wishes.popleft()
            if isinstance(wish, NewList):
                self._new_list(wish)
            elif isinstance(wish, Jump):
                self._course.jump(wish, self._ring.playing, self._current)
            elif isinstance(wish, Insert):
                self._course.insert(wish, self._current)
            if self._course.next is not None:
                self._ring.reopen()

    def _new_list(self, wish: NewList) -> None:
        """Play another list at once, or after the file that plays, which may be earlier than the one being read."""
        if self._course.renew(wish.listing, self._current):
            return
        begin, playing = wish.listing.programme.begin(), self._ring.playing
        self._course.seek(begin, urgent=not wish.wait_current)
        if wish.wait_current and playing is not None and playing.file != self._files:
            self._go_on(self._ring.cut_file(playing.file))
            if self._current is not None:
                raise _Interrupted
