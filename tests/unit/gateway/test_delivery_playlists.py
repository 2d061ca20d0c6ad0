"""Playlists as text: what RFC 8216 asks of each line."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.delivery.bodies import Bodies, make_body
from services.gateway.delivery.codecs import codecs_of, hevc_name, range_of
from services.gateway.delivery.index.entries import IndexEntry, entry_of
from services.gateway.delivery.playlists import END, Header, Variant, body, head, multivariant, rates, target_duration
from shared.media.bitstream.look import Colour
from shared.media.mp4.boxes import Mp4Error
from shared.media.mp4.entries import av1_config, vp9_config
from shared.media.mp4.hdr import colour_box, with_boxes
from shared.media.tracks import TrackConfig
from shared.messages.media import SegmentWritten
from shared.recording.log import Logged
from shared.recording.numbering import Numbering
from tests.support.hls_check import Playlist, read_media, read_multivariant
from tests.support.recordings import HOUR_START_MS, Session, new_event


def entries_of(segments: Iterable[SegmentWritten]) -> list[IndexEntry]:
    numbering = Numbering()
    found = (numbering.add(Logged(n, segment)) for n, segment in enumerate(segments, 1))
    return [entry_of(indexed) for indexed in found if indexed]


def written(entries: list[IndexEntry], kind: str | None = None, end: str = "") -> Playlist:
    longest = max(entry.duration_ms for entry in entries)
    header = Header(target_duration(longest), entries[0].number or 0, entries[0].seams, kind)  # type: ignore[arg-type]
    return read_media(head(header) + body(entries) + end)


def test_durations_are_exact_to_the_microsecond() -> None:
    session = Session(new_event(), duration=2_002_000, timescale=1_000_000)
    odd = Session(new_event(), duration=1, timescale=3)
    assert [part.micros for part in written(entries_of(session.segments(2))).parts] == [2_002_000, 2_002_000]
    assert [part.micros for part in written(entries_of(odd.segments(3))).parts] == [333_333] * 3


@pytest.mark.parametrize(
    ("longest_ms", "target"), [(1, 1), (2_000, 2), (2_002, 2), (2_499, 2), (2_500, 3), (10_400, 10)]
)
def test_the_target_duration_is_rounded_as_the_segments_are(longest_ms: int, target: int) -> None:
    assert target_duration(longest_ms) == target
    session = Session(new_event(), duration=longest_ms, timescale=1000)
    assert written(entries_of(session.segments(2))).target_s == target


def test_the_date_of_every_segment_is_its_wall_clock() -> None:
    session = Session(new_event(), duration=2_002_000, timescale=1_000_000)
    drifting = [session.segment(n, wall_start_ms=HOUR_START_MS + n * 2004) for n in range(50)]
    steady = Session(session.event, duration=2_002_000, timescale=1_000_000, origin_ms=300_000).segments(50)
    entries = entries_of([*drifting, *steady])
    playlist = written(entries)
    for date, entry in zip(playlist.dates_ms, entries, strict=True):
        assert abs(date - entry.wall_start_ms) <= 1
    told = [part for part in playlist.parts[50:] if part.date_ms is not None]
    assert len(told) == 1  # without drift once is enough


def test_a_tail_written_after_its_head_reads_as_one() -> None:
    event = new_event()
    entries = entries_of([*Session(event).segments(4), *Session(event, origin_ms=20_000).segments(4)])
    header = head(Header(2, 0, 0))
    whole = read_media(header + body(entries))
    for cut in range(1, 8):
        joined = read_media(header + body(entries[:cut]) + body(entries[cut:], entries[cut - 1]))
        assert [part.uri for part in joined.parts] == [part.uri for part in whole.parts]
        assert [part.seams for part in joined.parts] == [part.seams for part in whole.parts]


def test_discontinuities_count_on_when_segments_leave_at_the_front() -> None:
    event = new_event()
    segments = [s for n in range(4) for s in Session(event, origin_ms=n * 20_000).segments(2)]
    entries = entries_of(segments)
    for first in range(8):
        playlist = written(entries[first:])
        assert [(part.number, part.seams) for part in playlist.parts] == [(n, n // 2) for n in range(first, 8)]


def test_a_new_init_inside_a_session_is_mapped_after_a_discontinuity() -> None:
    session = Session(new_event())
    other = session.segment(0).init_key.replace("init-0", "init-1")
    entries = entries_of([session.segment(0), session.segment(1, init_key=other), session.segment(2, init_key=other)])
    playlist = written(entries)
    assert [part.init.rsplit("/", 1)[1] for part in playlist.parts] == ["init-0.mp4", "init-1.mp4", "init-1.mp4"]
    assert [part.seam for part in playlist.parts] == [False, True, False]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 400_000), st.booleans(), st.integers(-40, 40)),
        min_size=1,
        max_size=30,
    )
)
def test_any_recording_makes_a_playlist_that_the_rfc_allows(rows: list[tuple[int, int, bool, int]]) -> None:
    event = new_event()
    sessions = [Session(event, origin_ms=n * 100_000) for n in range(4)]
    ticks, counts = [0] * 4, [0] * 4
    segments = []
    for which, duration, jump, drift in rows:
        session = sessions[which]
        wall = HOUR_START_MS + which * 100_000 + ticks[which] // 90 + drift
        segments.append(
            session.segment(
                counts[which], start=ticks[which], duration=duration, discontinuity=jump, wall_start_ms=wall
            )
        )
        ticks[which] += duration
        counts[which] += 1
    playlist = written(entries_of(segments), "VOD", END)
    assert [part.number for part in playlist.parts] == list(range(len(rows)))


def test_a_segment_knows_whether_it_begins_with_a_keyframe() -> None:
    session = Session(new_event())
    start = 2 * session.duration
    shown = [(start,), (start + 7200, start + 90_000), (start + 90_000,), ()]
    entries = entries_of(session.segment(2, keyframes=ticks, session=new_event()) for ticks in shown)
    assert [entry.independent for entry in entries] == [True, True, False, False]
    (recovery,) = entries_of([session.segment(2, keyframes=(start,), independent=False)])
    assert not recovery.independent, "a recovery point is no such keyframe"


def test_rates_are_measured_and_a_cut_off_segment_is_no_peak() -> None:
    session = Session(new_event())
    short = session.segment(2, bytes=100_000, duration=900)  # 10 ms at 80 Mbit/s
    entries = entries_of([session.segment(0, bytes=1_000_000), session.segment(1, bytes=500_000), short])
    assert rates(entries) == (4_000_000, 1_600_000 * 8000 // 4010)
    assert rates([]) == (1, 1)


def test_variants_are_written_with_what_is_known() -> None:
    text = multivariant([Variant("a.m3u8", 5, 4, "avc1.64001f,mp4a.40.2", 1920, 1080), Variant("b.m3u8", 3, 2, "")])
    assert read_multivariant(text) == [
        (
            {"BANDWIDTH": "5", "AVERAGE-BANDWIDTH": "4", "CODECS": "avc1.64001f,mp4a.40.2", "RESOLUTION": "1920x1080"},
            "a.m3u8",
        ),
        ({"BANDWIDTH": "3", "AVERAGE-BANDWIDTH": "2"}, "b.m3u8"),
    ]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        # examples of ISO/IEC 14496-15, annex E.3, and of the DASH-IF codec registry
        ("010160000000b0000000000000", "hvc1.1.6.L0.b0"),
        ("0101600000009000000000005d", "hvc1.1.6.L93.90"),
        ("010220000000b000000000003f", "hvc1.2.4.L63.b0"),
        ("0121600000009000000000007b", "hvc1.1.6.H123.90"),
        ("0142200000000000000000005d", "hvc1.A2.4.L93"),
    ],
)
def test_hevc_names_follow_the_standard(record: str, name: str) -> None:
    assert hevc_name(bytes.fromhex(record)) == name


@pytest.mark.parametrize(
    ("track", "name"),
    [
        # examples of the AV1 binding (5) and of the VP one; records as their containers hold them
        (av1_config(bytes.fromhex("81004c000a0e000000043cfecc02f85091009040"), 90000), "av01.0.00M.10"),
        (av1_config(bytes.fromhex("81048c000a0b000000043cfeccdaf90040"), 90000), "av01.0.04H.08"),
        (vp9_config(bytes.fromhex("01000000001f82020202" + "0000"), (1280, 720), 90000), "vp09.00.31.08"),
        (vp9_config(bytes.fromhex("010000000233a2090910" + "0000"), (3840, 2160), 90000), "vp09.02.51.10"),
    ],
)
def test_av1_and_vp9_names_follow_the_standards(track: TrackConfig, name: str) -> None:
    assert codecs_of([track]) == name


def test_the_range_is_that_of_the_colours() -> None:
    record = "81004c000a0e000000043cfecc02f85091009040"
    pq = av1_config(bytes.fromhex(record), 90000)
    hlg, sdr = (with_boxes(pq, {b"colr": colour_box(Colour(9, code, 9, full=False))}) for code in (18, 14))
    assert [range_of([track]) for track in (pq, hlg, sdr)] == ["PQ", "HLG", ""]
    assert range_of([vp9_config(bytes.fromhex("01000000001f820202020000"), (64, 64), 90000)]) == ""
    [(fields, _)] = read_multivariant(multivariant([Variant("a.m3u8", 5, 4, "", 64, 64, range_of([pq]))]))
    assert fields["VIDEO-RANGE"] == "PQ"


def test_codecs_that_cannot_be_told_are_left_out() -> None:
    with pytest.raises(Mp4Error):
        hevc_name(b"\1\1")
    assert codecs_of([]) == ""


async def test_bodies_are_made_once_a_state_and_kept_within_bounds() -> None:
    made: list[str] = []
    bodies = Bodies(most_bytes=250)

    async def get(key: str, stamp: int) -> str:
        async def make() -> object:
            made.append(f"{key}{stamp}")
            return make_body(f"{key}{stamp}".ljust(100))

        return (await bodies.get(key, stamp, make)).plain.decode().strip()  # type: ignore[arg-type]

    assert [await get("a", 1), await get("a", 1), await get("a", 2), await get("b", 1)] == ["a1", "a1", "a2", "b1"]
    assert made == ["a1", "a2", "b1"]
    await get("c", 1)
    await get("b", 1)
    assert made == ["a1", "a2", "b1", "c1"]
    await get("a", 2)
    assert made[-1] == "a2"
