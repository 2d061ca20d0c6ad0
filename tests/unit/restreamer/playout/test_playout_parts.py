"""Small parts of the playout: sound without silence, times that make no sense, searches that are called off."""

from __future__ import annotations

from threading import Event

import pytest

from services.restreamer.model import FLICKS, Media, Packet, SourceError, Track
from services.restreamer.playout.order.ahead import Ahead, Failures, Listing
from services.restreamer.playout.order.programme import Programme
from services.restreamer.playout.reading.evener import LONGEST_STILL, Evener
from services.restreamer.playout.reading.splice import DEEPEST, Part, Shot, Splicer
from services.restreamer.playout.reading.verdict import LEAD
from services.restreamer.playout.sound.queue import SoundQueue
from services.restreamer.playout.sound.sounds import CopiedSound
from services.restreamer.playout.terms import DecodedPicture
from shared.messages.restreams import Item, PlaylistCursor, Source
from tests.support.waiting import wait_until

FRAME = FLICKS // 25


def test_sound_goes_on_in_time_where_its_codec_has_no_silence() -> None:
    lane = SoundQueue(0)
    lane.fill(10 * FRAME, None)
    assert lane.end == 10 * FRAME  # pictures wait for sound up to here
    lane.lay(20 * FRAME, b"sound", FRAME, None)
    assert [unit.pts for unit in lane.units] == [20 * FRAME]


def test_a_time_that_makes_no_sense_does_not_last() -> None:
    evener = Evener()
    far = 3600 * FLICKS
    times = [(0, 0), (FRAME, FRAME + far), (2 * FRAME, 2 * FRAME)]
    even = [evener.even(Packet("video", dts, pts, FRAME, key=False, data=b"")) for dts, pts in times]
    assert [packet.pts for packet in even] == [0, FRAME, 2 * FRAME]
    evener.even(Packet("video", 3 * FRAME, 3 * FRAME, far, key=False, data=b""))
    after = evener.even(Packet("video", 3 * FRAME + far, 3 * FRAME + far, FRAME, key=False, data=b""))
    assert after.pts < far // 2


@pytest.mark.parametrize("duration", [-FLICKS, 3 * LONGEST_STILL, 1 << 60])
def test_a_picture_that_is_to_stay_on_for_longer_than_any_moves_nothing_beyond_that(duration: int) -> None:
    evener = Evener()
    evener.even(Packet("video", 0, 0, duration, key=True, data=b""))
    after = evener.even(Packet("video", 5 * LONGEST_STILL, 5 * LONGEST_STILL, FRAME, key=False, data=b""))
    assert after.dts == (LONGEST_STILL if duration > 0 else 0)
    late = evener.even(Packet("video", 5 * LONGEST_STILL + FRAME, 9 * LONGEST_STILL, FRAME, key=False, data=b""))
    assert late.pts == late.dts


def test_a_picture_stays_on_no_longer_because_sound_lies_far_ahead() -> None:
    """Silence would be made up to there, all at once."""
    evener, far = Evener(), 10**6 * FLICKS
    evener.even(Packet("audio", far, far, FRAME, key=True, data=b""))
    shown = [
        evener.even(Packet("video", at, at, FRAME, key=True, data=b"")).pts for at in (0, FRAME, far // 10, far // 2)
    ]
    assert shown == [0, FRAME, FRAME + LONGEST_STILL, FRAME + 2 * LONGEST_STILL]


def test_a_picture_stays_on_as_long_as_sound_goes_on() -> None:
    evener, long = Evener(), 2 * LONGEST_STILL
    evener.even(Packet("video", 0, 0, FRAME, key=True, data=b""))
    for at in range(0, LONGEST_STILL, FLICKS):
        assert evener.even(Packet("audio", at, at, FLICKS, key=True, data=b"")).pts == at
    assert evener.even(Packet("video", LONGEST_STILL, LONGEST_STILL, FRAME, key=True, data=b"")).pts == LONGEST_STILL
    assert evener.even(Packet("audio", LONGEST_STILL, LONGEST_STILL, FRAME, key=True, data=b"")).pts == LONGEST_STILL
    assert evener.even(Packet("video", long + FLICKS, long, FRAME, key=True, data=b"")).pts < long


@pytest.mark.parametrize("early", [True, False])
def test_no_silence_is_made_up_to_sound_that_lies_far_ahead(early: bool) -> None:
    splicer = Splicer()
    splicer.begin(Part(1, PlaylistCursor(), "copied"), typical=FRAME)
    sound = CopiedSound(Track("audio", "aac", b"\x11\x90", sample_rate=48_000, channels=2), splicer)
    late = [Packet("audio", at, at, FRAME, key=True, data=b"x") for at in (FRAME, 10**6 * FLICKS, 3 * FRAME)]
    for packet in late if early else ():
        sound.push(packet)
    splicer.shot(Shot(0, 0, FRAME, True, b"x"))
    for packet in () if early else late:
        sound.push(packet)
    sound.advance(FRAME)
    assert [unit.data for unit in splicer.lane.units].count(b"x") == 2
    assert len(splicer.lane.units) < 10


@pytest.mark.parametrize("window", [1, 2, DEEPEST])
def test_a_part_ends_with_the_picture_that_is_shown_last(window: int) -> None:
    """Behind a hole the picture before it, in decode order, counts as staying on, though others are shown soon."""
    hole = 100 * FRAME
    order = [(0, 1), (2, 1), (1, hole // FRAME), (hole // FRAME + 4, hole // FRAME), (hole // FRAME + 3, 1)]
    splicer = Splicer()
    splicer.begin(Part(1, PlaylistCursor(), "copied"), reorder=window, typical=FRAME)
    for n, (at, length) in enumerate(order):
        splicer.shot(Shot(at * FRAME, at * FRAME, length * FRAME, n == 0, b"x"))
    splicer.shot(Shot(hole + 5 * FRAME, hole + 5 * FRAME, FRAME, False, b"x"))
    assert splicer.shown == LEAD + hole + 6 * FRAME
    splicer.end(None)
    assert splicer.picture_end == LEAD + hole + 6 * FRAME


class Closing:
    """A file that was opened after it was no longer wanted."""

    closed = False
    video = audio = duration = wall_start_ms = resumes = None

    def close(self) -> None:
        self.closed = True


class Late:
    """A library whose file comes when `gate` is open."""

    def __init__(self, media: Closing, error: Exception | None = None) -> None:
        self.media, self.error, self.gate = media, error, Event()

    def open(self, source: Source, stop: Event) -> Media:
        self.gate.wait(30)
        if self.error is not None:
            raise self.error
        return self.media  # type: ignore[return-value]  it is only closed

    def picture(self, source: Source, stop: Event) -> DecodedPicture:
        raise SourceError("there is none")


def search(library: Late) -> Ahead:
    source = Source(kind="library", location="a", shown="a")
    listing = Listing(Programme((Item(source=source),), loops=1))
    return Ahead(library, lambda _: None, lambda: None, Failures(), listing, PlaylistCursor(), live=source)


def test_a_file_that_opens_too_late_is_closed() -> None:
    library = Late(Closing())
    ahead = search(library).start()
    ahead.cancel()
    library.gate.set()
    wait_until(lambda: ahead.done)
    assert ahead.opened is None
    assert library.media.closed


def test_a_search_that_breaks_is_over() -> None:
    library = Late(Closing(), ZeroDivisionError())
    library.gate.set()
    ahead = search(library)
    with pytest.raises(ZeroDivisionError):
        ahead._run()
    assert ahead.done
    assert ahead.failed
