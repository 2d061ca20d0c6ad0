"""Stream time and wall clock of a recording, and its gaps."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import MediaError
from shared.media.timeline import Span, Timeline, joins, locate
from shared.messages.ranges import Gap, Selection
from tests.support.recordings import HOUR_START_MS, Session, new_event

WALL = Fraction(HOUR_START_MS, 1000)


def test_a_segment_lies_at_its_origin_plus_its_ticks() -> None:
    segment = Session(new_event(), origin_ms=1_500).segment(3, start=90_001, duration=3003, timescale=90_000)
    placed = locate(segment)
    assert placed.start == Fraction(3, 2) + Fraction(90_001, 90_000)
    assert placed.end - placed.start == Fraction(3003, 90_000)


def test_order_and_duplicates_of_the_log_do_not_matter() -> None:
    segments = Session(new_event()).segments(5)
    timeline = Timeline([*segments[3:], *segments, *segments[:2]])
    assert [placed.segment for placed in timeline.placed] == segments
    assert timeline.span == Span(Fraction(0), Fraction(10))


def test_without_drift_both_clocks_run_alike() -> None:
    timeline = Timeline(Session(new_event()).segments(5))
    for seconds in (Fraction(0), Fraction(1, 3), Fraction(2), Fraction(10), Fraction(-3), Fraction(99)):
        assert timeline.to_wall(seconds) == WALL + seconds
        assert timeline.to_stream(WALL + seconds) == seconds


def test_an_encoder_that_runs_slow_is_followed_by_the_wall_clock_of_each_segment() -> None:
    session = Session(new_event())
    # 2 s of media take 2.010 s of wall clock
    segments = [session.segment(n, wall_start_ms=HOUR_START_MS + n * 2010) for n in range(5)]
    timeline = Timeline(segments)
    assert timeline.to_wall(Fraction(4)) == WALL + Fraction(402, 100)
    assert timeline.to_stream(WALL + Fraction(402, 100)) == 4
    # within the last 10 ms of a segment's wall clock its media is over
    assert timeline.to_stream(WALL + Fraction(2005, 1000)) == 2


def test_a_duration_is_stream_time_where_the_dates_step() -> None:
    """The encoder stood still for 7 s after 4 s, and went on with its clock."""
    session = Session(new_event())
    stood = [session.segment(n, wall_start_ms=HOUR_START_MS + n * 2000 + (7000 if n >= 2 else 0)) for n in range(5)]
    timeline = Timeline(stood)
    assert timeline.to_stream(WALL + 8) == 4, "nothing was made then"
    start, end = WALL + 3, WALL + 13
    for held, wanted in (("both", Span(Fraction(3), Fraction(6))), ("end", Span(Fraction(-4), Fraction(6))),
                         ("start", Span(Fraction(3), Fraction(13)))):  # fmt: skip
        selection = Selection.model_validate({"clock": "wall", "start": start, "end": end, "held": held})
        assert timeline.resolve(selection) == wanted


def test_a_moment_in_a_gap_lies_between_what_is_before_and_after() -> None:
    event = new_event()
    before, after = Session(event), Session(event, origin_ms=20_000)
    timeline = Timeline([*before.segments(2), *after.segments(2)])
    assert timeline.to_stream(WALL + 10) == 10
    assert timeline.to_wall(Fraction(10)) == WALL + 10
    assert timeline.covered() == (Span(Fraction(0), Fraction(4)), Span(Fraction(20), Fraction(24)))


def test_gaps_are_told_inside_a_selection_and_at_its_ends() -> None:
    session = Session(new_event())
    timeline = Timeline([*session.segments(2), *session.segments(2, first=4)])
    assert timeline.gaps(Span(Fraction(1), Fraction(11))) == (Gap(start=Fraction(4), duration=Fraction(4)),)
    assert timeline.gaps(Span(Fraction(5), Fraction(6))) == (Gap(start=Fraction(5), duration=Fraction(1)),)
    assert timeline.gaps(Span(Fraction(10), Fraction(15))) == (Gap(start=Fraction(12), duration=Fraction(3)),)
    assert timeline.gaps(Span(Fraction(0), Fraction(4))) == ()
    assert Timeline([]).gaps(Span(Fraction(0), Fraction(4))) == (Gap(start=Fraction(0), duration=Fraction(4)),)


def test_jitter_between_segments_is_no_gap() -> None:
    session = Session(new_event())
    timeline = Timeline([session.segment(0), session.segment(1, start=180_000 + 4_500)])
    assert timeline.gaps(timeline.span) == ()
    assert len(timeline.runs()) == 1


def test_sessions_that_overlap_cover_their_time_once() -> None:
    event = new_event()
    timeline = Timeline([*Session(event).segments(3), *Session(event, origin_ms=5_000).segments(2)])
    assert timeline.covered() == (Span(Fraction(0), Fraction(9)),)
    assert timeline.gaps(timeline.span) == ()


def test_a_run_ends_where_a_player_would_see_a_seam() -> None:
    session = Session(new_event())
    first, second, third = session.segments(3)
    other = Session(session.event, origin_ms=6_000).segment(0)
    assert joins(first, second)
    assert not joins(first, third)
    assert not joins(second, first)
    assert not joins(first, second.model_copy(update={"discontinuity": True}))
    assert not joins(first, second.model_copy(update={"init_key": "live/x/init-1.mp4"}))
    assert not joins(third, other)
    runs = Timeline([first, second, third, other]).runs()
    assert [len(run) for run in runs] == [3, 1]


@pytest.mark.parametrize(("off", "joined"), [(0, True), (9000, True), (-9000, True), (9001, False), (-9001, False)])
def test_a_step_of_a_tenth_of_a_second_is_jitter_and_more_is_a_seam_in_both_directions(off: int, joined: bool) -> None:
    first, second = Session(new_event()).segments(2)
    moved = second.model_copy(update={"start": second.start + off})
    assert joins(first, moved) is joined
    assert len(Timeline([first, moved]).runs()) == (1 if joined else 2)


@pytest.mark.parametrize(("length", "told"), [(9000, False), (9001, True), (18_000, True), (27_000, True)])
def test_from_a_tenth_of_a_second_on_a_hole_is_a_gap(length: int, told: bool) -> None:
    """Between two segments, and at the ends of a selection."""
    session = Session(new_event())
    timeline = Timeline([session.segment(0), session.segment(1, start=180_000 + length)])
    hole = Gap(start=Fraction(2), duration=Fraction(length, 90_000))
    assert timeline.gaps(timeline.span) == ((hole,) if told else ())
    assert len(timeline.covered()) == (2 if told else 1)
    beyond = Timeline([session.segment(0)]).gaps(Span(Fraction(0), Fraction(2) + hole.duration))
    assert beyond == ((hole,) if told else ())


def test_a_selection_by_either_clock_is_one_span() -> None:
    timeline = Timeline(Session(new_event()).segments(10))
    stream = Selection(clock="stream", start=Fraction(4), end=Fraction(14))
    wall = Selection(clock="wall", start=WALL + 4, end=WALL + 14)
    assert timeline.resolve(stream) == timeline.resolve(wall) == Span(Fraction(4), Fraction(14))


def test_an_empty_recording_has_no_clock() -> None:
    assert not Timeline([])
    for ask in (Timeline([]).to_wall, Timeline([]).to_stream):
        with pytest.raises(MediaError):
            ask(Fraction(1))


@settings(max_examples=40, deadline=None)
@given(
    drift=st.lists(st.integers(-20, 20), min_size=2, max_size=12),
    moments=st.lists(st.fractions(min_value=-5, max_value=60), min_size=2, max_size=8),
)
def test_conversion_never_turns_time_round(drift: list[int], moments: list[Fraction]) -> None:
    session = Session(new_event())
    timeline = Timeline(
        session.segment(n, wall_start_ms=HOUR_START_MS + n * 2000 + late) for n, late in enumerate(drift)
    )
    walls = [timeline.to_wall(moment) for moment in sorted(moments)]
    assert walls == sorted(walls)
    streams = [timeline.to_stream(WALL + moment) for moment in sorted(moments)]
    assert streams == sorted(streams)
