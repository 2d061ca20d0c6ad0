"""Which frames a range holds, and where sound goes: planned on recordings whose samples are a byte long."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.clipper.cutting import CutError, CutSource, EmptyCut, Run, Segment, SegmentUnreadable, plan_cut
from services.clipper.cutting.audio import lay_audio
from services.clipper.cutting.packets import place_packets
from services.clipper.cutting.plan import ClipSpan
from services.clipper.cutting.sound import _holes
from shared.media.model import SampleTable
from shared.media.mp4.entries import codec_record
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.mp4.init import aac_config, build_init, opus_config, video_config
from shared.media.seams.silence import silent_packet
from shared.media.seams.source import Audio, Piece

SPS = bytes.fromhex("6764000d22cd941419f9e10000030001000003003c0f142996")
RECORD = b"\0\0\0\1" + SPS + b"\0\0\0\1" + bytes.fromhex("68212f8fcb")
VIDEO = video_config("h264", RECORD, 90000)
AUDIO = aac_config(bytes.fromhex("119056e500"))
OPUS = opus_config(bytes.fromhex("4f707573486561640102380180bb0000000000"))
PACKET = 1024
# A span's start and length, and where its packets begin, all in samples.
STRETCH = st.tuples(st.integers(5000, 90000), st.integers(2000, 90000), st.integers(0, 1023))
GOP = 60


def _source(
    folder: Path,
    rate: Fraction,
    seconds: int,
    *,
    lost: frozenset[int] = frozenset(),
    keyframes: frozenset[int] | None = None,
) -> CutSource:
    """Record frames without reordering, their times rounded to milliseconds, in segments of 60 frames."""
    init = folder / "init-0.mp4"
    init.write_bytes(build_init([VIDEO]))
    count = int(seconds * rate)
    times = [round(n / rate * 1000) * 90 for n in range(count + 1)]
    writer = FragmentWriter([VIDEO])
    segments = []
    for first in range(0, count, GOP):
        numbers = [n for n in range(first, min(first + GOP, count)) if n not in lost]
        ends = [*numbers[1:], min(first + GOP, count)]
        run = [
            Sample(times[n], times[n], times[e] - times[n], n in (keyframes or {first}), b"x")
            for n, e in zip(numbers, ends, strict=True)
        ]
        path = folder / f"{first // GOP:08d}.m4s"
        path.write_bytes(writer.part({1: run}))
        segments.append(Segment(path, times[first], times[min(first + GOP, count)] - times[first]))
    return CutSource((Run(init, tuple(segments), Fraction(0)),))


def test_ten_seconds_are_three_hundred_frames(tmp_path: Path) -> None:
    plan = plan_cut(_source(tmp_path, Fraction(30), 20), Fraction(4), Fraction(14))
    assert plan.exact.frames == 300
    assert (plan.exact.start, plan.exact.end) == (Fraction(4), Fraction(14))
    assert plan.exact.duration == 10
    assert not plan.gaps
    assert (plan.fast.start, plan.fast.end) == (Fraction(4), Fraction(14))


@pytest.mark.parametrize(
    ("start", "end", "first", "frames"),
    [
        ("4.0004", "5", "4", 30),  # a point may be rounded: less than half a millisecond late is on the frame
        ("4.0006", "5", "4.0333", 29),
        ("3.9996", "5", "4", 30),
        ("4.033", "5", "4.0333", 29),
        ("4", "5.0004", "4", 30),
        ("4", "5.001", "4", 31),
        ("4.01", "4.04", "4.0333", 1),
    ],
)
def test_points_between_frames(start: str, end: str, first: str, frames: int, tmp_path: Path) -> None:
    plan = plan_cut(_source(tmp_path, Fraction(30), 10), Fraction(start), Fraction(end))
    assert plan.exact.frames == frames
    assert float(plan.exact.start) == pytest.approx(float(first), abs=0.0001)


def test_range_between_two_frames_is_the_frame_on_show(tmp_path: Path) -> None:
    plan = plan_cut(_source(tmp_path, Fraction(30), 10), Fraction("4.01"), Fraction("4.02"))
    assert (plan.exact.start, plan.exact.end, plan.exact.frames) == (4, Fraction(121, 30), 1)
    with pytest.raises(EmptyCut):  # after the last frame
        plan_cut(_source(tmp_path, Fraction(30), 10), Fraction("10.01"), Fraction("10.02"))


@pytest.mark.parametrize(
    ("rate", "start", "end", "made", "frames"),
    [
        (Fraction(1), Fraction(21, 2), Fraction(25, 2), (Fraction(11), Fraction(13)), 2),
        (Fraction(1, 5), Fraction(21, 2), Fraction(25, 2), (Fraction(21, 2), Fraction(25, 2)), 1),
        (Fraction(1, 5), Fraction(12), Fraction(27), (Fraction(12), Fraction(27)), 4),
        (Fraction(1, 5), Fraction(15), Fraction(20), (Fraction(15), Fraction(20)), 1),
    ],
)
def test_frames_of_a_second_are_whole_and_longer_ones_are_held(
    rate: Fraction, start: Fraction, end: Fraction, made: tuple[Fraction, Fraction], frames: int, tmp_path: Path
) -> None:
    plan = plan_cut(_source(tmp_path, rate, int(60 / rate)), start, end)
    assert (plan.exact.start, plan.exact.end, plan.exact.frames, plan.gaps) == (*made, frames, ())


def test_fast_range_is_the_whole_segments(tmp_path: Path) -> None:
    plan = plan_cut(_source(tmp_path, Fraction(25), 20), Fraction(3), Fraction(5))
    assert (plan.fast.start, plan.fast.end) == (Fraction(60, 25), Fraction(180, 25))
    assert plan.exact.frames == 50


def test_dropped_frames_stay_dropped(tmp_path: Path) -> None:
    source = _source(tmp_path, Fraction(30), 10, lost=frozenset((125, 126)))
    plan = plan_cut(source, Fraction(4), Fraction(5))
    assert (plan.exact.frames, plan.exact.duration) == (28, Fraction(1))
    assert not plan.gaps
    assert plan.exact.spans[0].video.rate == 30


def test_unreadable_neighbour_is_not_needed(tmp_path: Path) -> None:
    source = _source(tmp_path, Fraction(30), 10)
    segments = source.runs[0].segments
    segments[1].path.write_bytes(b"garbage")
    assert plan_cut(source, Fraction(4), Fraction(5)).exact.frames == 30
    with pytest.raises(SegmentUnreadable):
        plan_cut(source, Fraction(3), Fraction(5))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0\0\0\x08moov"])
def test_unreadable_init_is_named(content: bytes, tmp_path: Path) -> None:
    source = _source(tmp_path, Fraction(30), 4)
    source.runs[0].init.write_bytes(content)
    with pytest.raises(CutError, match=r"init-0\.mp4"):
        plan_cut(source, Fraction(1), Fraction(2))
    source.runs[0].init.unlink()
    with pytest.raises(SegmentUnreadable, match=r"init-0\.mp4"):
        plan_cut(source, Fraction(1), Fraction(2))


def test_no_runs_and_no_segments_are_empty(tmp_path: Path) -> None:
    for source in (CutSource(()), CutSource((Run(tmp_path / "x", (), Fraction(0)),))):
        with pytest.raises(EmptyCut):
            plan_cut(source, Fraction(0), Fraction(1))


def _sound(count: int, first: int = 0) -> Audio:
    at = first + PACKET * np.arange(count)
    whole = np.ones(count, np.bool_)
    same = np.zeros(count, np.int64)
    table = SampleTable(at, at, same + PACKET, same + 1, whole, np.arange(count), same, (Path("x"),))
    return Audio(AUDIO, table, at, Fraction(0))


def _span(audio: Audio, start: Fraction, end: Fraction) -> ClipSpan:
    return ClipSpan(Piece("", start, end, None, audio, ()), start, end)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(5000, 90000), st.integers(2000, 90000), st.integers(0, 1023)), min_size=2, max_size=12
    )
)
def test_sound_follows_its_span_over_any_number_of_joins(lengths: list[tuple[int, int, int]]) -> None:
    spans = []
    for start, length, phase in lengths:
        spans.append(_span(_sound(250, phase), Fraction(start, 48000), Fraction(start + length, 48000)))
    parts = lay_audio(spans)
    at = np.concatenate([part.at for part in parts])
    assert np.all(np.diff(at) > 0)
    assert -2 * PACKET < at[0] <= -PACKET + 1023
    starts = np.cumsum([0, *(length for _, length, _ in lengths)])
    for part in parts:
        index = next(n for n, span in enumerate(spans) if span.piece.audio is part.audio)
        offset = part.at - part.audio.at[part.rows]
        assert np.all(np.abs(offset - (starts[index] - lengths[index][0])) <= 1)
    # A player that counts packets is never more than a packet off.
    filled = np.sort(np.append(at, _holes(at, PACKET)))
    assert np.abs(filled - filled[0] - PACKET * np.arange(len(filled))).max() <= PACKET
    assert at[-1] + PACKET >= starts[-1] - PACKET


def test_preroll_of_each_codec() -> None:
    aac = lay_audio([_span(_sound(100), Fraction(1), Fraction(2))])[0]
    assert aac.at[0] == 46 * PACKET - 48000 - PACKET
    opus = _sound(100)
    table = opus.table
    opus = Audio(OPUS, table, opus.at, opus.base)
    assert len(lay_audio([_span(opus, Fraction(1), Fraction(2))])[0].rows) == len(aac.rows) + 7
    assert lay_audio([_span(_sound(3), Fraction(1), Fraction(2))]) == []
    # HE-AAC, said explicitly (SBR at 48 kHz over a core of 24 kHz): its frames are 2048 samples long.
    sbr = Audio(
        aac_config(bytes.fromhex("2b118800")), replace(table, duration=table.duration * 2), opus.at * 2, opus.base
    )
    (part,) = lay_audio([_span(sbr, Fraction(1), Fraction(2))])
    assert part.at[:3].tolist() == [(23 - n) * 2 * PACKET - 48000 for n in (2, 1, 0)]


def test_holes_are_counted_against_the_clock() -> None:
    assert _holes(np.array([-1024, 0, 1024]), PACKET).tolist() == []
    assert _holes(np.array([0, 1024, 5120]), PACKET).tolist() == [2048, 3072, 4096]
    assert _holes(np.array([3000, 4024]), PACKET).tolist() == [-72, 952, 1976]
    assert _holes(np.array([10, 1034]), PACKET).tolist() == [-1014]
    assert _holes(np.array([0, 1400, 2800, 4200]), PACKET).tolist() == [1400 + 1024]


def test_silence_is_made_for_usual_formats() -> None:
    packet = silent_packet(AUDIO, 1024)
    decoder = av.CodecContext.create("aac", "r")
    assert packet is not None
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata = codec_record(AUDIO)
    sounds = [frame.to_ndarray() for _ in range(3) for frame in decoder.decode(av.Packet(packet))]
    assert [sound.shape for sound in sounds] == [(2, 1024)] * 3
    assert not any(sound.any() for sound in sounds)
    assert silent_packet(OPUS, 960) == b"\xf8\xff\xfe"
    assert silent_packet(OPUS, 2880) is None
    assert silent_packet(AUDIO, 960) is None


def test_long_gop_over_many_segments_is_entered_at_its_keyframe(tmp_path: Path) -> None:
    """Segments of 2 s of which only the first begins with a keyframe: the clip reaches back to that."""
    source = _source(tmp_path, Fraction(30), 20, keyframes=frozenset((0,)))
    plan = plan_cut(source, Fraction(15), Fraction(16))
    assert plan.exact.frames == 30
    assert (plan.fast.start, plan.fast.end) == (Fraction(0), Fraction(16))
    first, *_, last = source.runs[0].segments
    first.path.write_bytes(b"garbage")
    with pytest.raises(EmptyCut):  # nothing after it can be decoded
        plan_cut(source, Fraction(15), Fraction(16))
    last.path.write_bytes(b"garbage")
    with pytest.raises(SegmentUnreadable):
        plan_cut(source, Fraction(19), Fraction(20))


def test_a_run_begins_where_it_settles() -> None:
    """A recorder moves by a sample a packet until it knows where sound lies; a slow drift later on is followed."""
    lengths = np.full(600, PACKET, np.int64)
    whole, same = np.ones(600, np.bool_), np.zeros(600, np.int64)
    counted = np.arange(600) * PACKET
    settling, drift = np.minimum(np.arange(600), 17), np.maximum(np.arange(600) - 300, 0) // 100
    for off, expected in ((settling, same + 17), (settling - drift, 17 - drift), (drift, drift)):
        table = SampleTable(counted + off, counted + off, lengths, same + 1, whole, same, same, (Path("x"),))
        assert np.abs(place_packets(table, 48000)[1] - counted - expected).max() <= 3


def test_packets_on_a_drifting_clock_are_left_where_they_are() -> None:
    """A recorder that follows a sound card two samples a frame has done what can be done; rounding is undone."""
    lengths = np.full(5000, PACKET, np.int64)
    drifting = np.cumsum(lengths + 2) - PACKET
    rounded = (np.arange(5000) * PACKET * 1000 // 48000) * 48
    whole, same = np.ones(5000, np.bool_), np.zeros(5000, np.int64)
    for at, expected in ((drifting, 2), (rounded, 0)):
        table = SampleTable(at, at, lengths, same + 1, whole, same, same, (Path("x"),))
        steps = np.diff(place_packets(table, 48000)[1]) - PACKET
        assert set(steps.tolist()) == {expected}
