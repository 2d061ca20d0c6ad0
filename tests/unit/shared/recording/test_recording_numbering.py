"""Numbers and discontinuities of segments, as playlists count them."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.media.timeline import identity
from shared.messages.media import IndexedSegment, SegmentWritten
from shared.messages.recordings import SegmentRun
from shared.recording.hours import hour_of, make_hour
from shared.recording.log import Logged
from shared.recording.numbering import MOST_RUNS, Numbering, runs_of
from tests.support.recordings import HOUR_START_MS, Session, new_event


def fold(
    segments: Iterable[SegmentWritten], numbering: Numbering | None = None, first: int = 1
) -> list[IndexedSegment]:
    numbering = numbering or Numbering()
    found = (numbering.add(Logged(first + n, segment)) for n, segment in enumerate(segments))
    return [indexed for indexed in found if indexed is not None]


def places(indexed: list[IndexedSegment]) -> list[tuple[int | None, int]]:
    return [(entry.number, entry.discontinuity) for entry in indexed]


def test_segments_are_numbered_in_the_order_they_came_and_a_reconnect_is_a_discontinuity() -> None:
    event = new_event()
    log = [*Session(event).segments(2), *Session(event, origin_ms=60_000).segments(2)]
    assert places(fold(log)) == [(0, 0), (1, 0), (2, 1), (3, 1)]


def test_a_new_init_a_hole_and_an_encoder_s_jump_are_discontinuities() -> None:
    session = Session(new_event())
    init = session.segment(1, init_key=f"live/{session.event}/{session.session}/primary-1/init-1.mp4")
    log = [session.segment(0), init, init.model_copy(update={"sequence": 2, "start": 360_000}), session.segment(5)]
    assert places(fold([*log, session.segment(6, discontinuity=True)])) == [(0, 0), (1, 1), (2, 1), (3, 2), (4, 3)]


def test_a_segment_delivered_again_counts_once() -> None:
    segments = Session(new_event()).segments(3)
    assert places(fold([segments[0], segments[0], segments[1], segments[0], segments[2], segments[1]])) == [
        (0, 0), (1, 0), (2, 0),
    ]  # fmt: skip


def test_a_segment_salvaged_after_others_followed_gets_no_number() -> None:
    event = new_event()
    killed, next_session = Session(event), Session(event, origin_ms=10_000)
    salvaged = killed.segment(2, recovered=True)
    log = [*killed.segments(2), *next_session.segments(2), salvaged, next_session.segment(2)]
    assert places(fold(log)) == [(0, 0), (1, 0), (2, 1), (3, 1), (None, 1), (4, 1)]


def test_a_segment_salvaged_short_is_replaced_by_the_whole_under_its_number() -> None:
    session = Session(new_event())
    copy = session.segment(2, recovered=True, bytes=300, duration=45_000, key="live/x/000000000002.m4s")
    again = session.segment(1)
    whole, following = session.segments(2, first=2)
    found = fold([*session.segments(2), copy, again, whole, copy, following])
    assert places(found) == [(0, 0), (1, 0), (2, 0), (2, 0), (3, 0)]
    assert [entry.segment for entry in found[2:]] == [copy, whole, following]
    hour = make_hour(session.event, 0, 9, found)
    assert [entry.segment for entry in hour.segments] == [*session.segments(2), whole, following]
    late = Numbering([entry for entry in found if entry.segment == copy])
    assert late.add(Logged(20, following)) is not None
    merged = make_hour(session.event, 0, 9, [found[2], IndexedSegment(log=8, segment=whole)])
    assert [entry.segment for entry in merged.segments] == [whole], "in an hour that was closed with the short one"


def test_a_segment_salvaged_in_time_is_numbered_like_any_other() -> None:
    event = new_event()
    killed = Session(event)
    log = [*killed.segments(2), killed.segment(2, recovered=True), Session(event, origin_ms=10_000).segment(0)]
    assert places(fold(log)) == [(0, 0), (1, 0), (2, 0), (3, 1)]


def test_a_session_on_a_machine_whose_clock_is_behind_still_moves_the_edge() -> None:
    event = new_event()
    log = [*Session(event, origin_ms=60_000).segments(2), *Session(event, origin_ms=50_000).segments(2)]
    assert places(fold(log)) == [(0, 0), (1, 0), (2, 1), (3, 1)]


def test_tracks_count_for_themselves() -> None:
    event = new_event()
    main, other = Session(event), Session(event, track="backup-1")
    log = [main.segment(0), other.segment(0), main.segment(1), other.segment(1)]
    assert places(fold(log)) == [(0, 0), (0, 0), (1, 0), (1, 0)]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_numbers_do_not_depend_on_when_hours_were_closed(data: st.DataObject) -> None:
    event = new_event()
    sessions = [Session(event, origin_ms=n * 30_000) for n in range(3)]
    log: list[SegmentWritten] = []
    for session in sessions:
        log += session.segments(data.draw(st.integers(1, 4)))
    log += data.draw(st.lists(st.sampled_from(log), max_size=4))
    log.append(sessions[0].segment(9, recovered=True))
    whole = fold(log)
    cut = data.draw(st.integers(0, len(log)))
    before = Numbering()
    first = fold(log[:cut], before)
    runs = runs_of([entry.segment for entry in first])
    resumed = Numbering(before.last)
    resumed._runs = list(runs or ())
    resumed._sessions = {run.session for run in resumed._runs}
    assert [*first, *fold(log[cut:], resumed, cut + 1)] == whole


def test_an_hour_holds_each_segment_once_in_the_order_of_stream_time() -> None:
    event = new_event()
    session, later = Session(event), Session(event, origin_ms=10_000)
    indexed = fold([session.segment(0), *later.segments(2), session.segment(1, recovered=True)])
    hour = make_hour(event, hour_of(HOUR_START_MS), 4, [*indexed, indexed[0]])
    assert [entry.segment.origin_ms + entry.segment.start // 90 for entry in hour.segments] == [0, 2000, 10_000, 12_000]


def test_runs_list_exactly_what_is_there() -> None:
    event = new_event()
    first, second = Session(event), Session(event)
    segments = [*first.segments(3), *first.segments(2, first=4), *second.segments(1)]
    runs = runs_of(segments)
    assert runs is not None
    assert {(run.session, run.first, run.last) for run in runs} == {
        (first.session, 0, 2), (first.session, 4, 5), (second.session, 0, 0),
    }  # fmt: skip
    assert all(isinstance(run, SegmentRun) for run in runs)
    assert len({identity(segment) for segment in segments}) == sum(run.last - run.first + 1 for run in runs)


def test_an_hour_in_too_many_pieces_is_not_listed_by_runs() -> None:
    session = Session(new_event())
    assert runs_of([session.segment(2 * n) for n in range(MOST_RUNS + 1)]) is None
