"""Encoders whose clocks wrap, jump or stop, and whose tracks come and go: none of it ends or spoils a recording."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from services.ingester.recorder.model import SegmentInfo
from services.ingester.recorder.recover import recover
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.media_flv import AUDIO, VIDEO, Tag
from tests.support.media_recording import Recorded, pieces, undated


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> list[Tag]:
    """Eight seconds of H.264 with B-frames and AAC, a keyframe each second."""
    source = media.encode(tmp_path_factory.mktemp("clocks") / "s.flv", video="h264-b", seconds=8, gop=30, size="160x90")
    return flv.split(source.read_bytes())


def live(tags: list[Tag], flags: int = 5) -> list[bytes | int]:
    """Feed tags when they are due, in the order given, by the times they had before anything was done to them."""
    fed: list[bytes | int] = [flv.header(flags)]
    return fed + [flv.encode(t) for t in tags]


def paced(tags: list[Tag], changed: list[Tag]) -> list[bytes | int]:
    """Feed `changed` at the pace of `tags`."""
    fed: list[bytes | int] = [flv.header()]
    now = 0
    for original, tag in zip(tags, changed, strict=True):
        if original.time > now:
            fed.append(original.time - now)
            now = original.time
        fed.append(flv.encode(tag))
    return fed


def shape(segments: list[SegmentInfo]) -> list[tuple[int, int, bool]]:
    return [(s.start, s.duration, s.discontinuity) for s in segments]


def check_time_line(recorded: Recorded) -> None:
    """Decode times rise over the whole session, nothing is negative, and recovery agrees."""
    last: dict[int, int] = {}
    for info in recorded.segments:
        for track, table in read_fragments(info.path).tables.items():
            assert table.dts[0] >= last.get(track, 0)
            assert np.all(np.diff(table.dts) > 0)
            assert np.all(table.pts >= 0)
            last[track] = int(table.dts[-1]) + 1
    for before, after in itertools.pairwise(recorded.segments):
        if before.timescale == after.timescale:
            assert before.start + before.duration <= after.start
    assert undated(recover(recorded.folder)) == undated(recorded.segments)


def plain(tags: list[Tag], folder: Path) -> Recorded:
    recorded = Recorded(folder)
    recorded.run("flv", live(tags))
    return recorded


def frames(recorded: Recorded, stream: str = "v:0") -> list[str]:
    return [digest for _, digest in media.frame_hashes(recorded.joined(), stream)]


def test_the_rtmp_clock_wraps_unseen(tags: list[Tag], tmp_path: Path) -> None:
    usual = plain(tags, tmp_path / "usual")
    wrapping = Recorded(tmp_path / "wrap")
    summary = wrapping.run("flv", live(flv.moved(tags, (1 << 32) - 3500)))
    assert summary.jumps == 0
    assert [s.sha256 for s in wrapping.segments] == [s.sha256 for s in usual.segments]


def test_the_mpegts_clock_wraps_unseen(tmp_path: Path) -> None:
    """33 bits at 90 kHz wrap after 95443.7 s; both tracks pass it, and B-frames' times lie on both sides."""
    shas = []
    for offset in ("10", "95441"):
        source = media.encode(tmp_path / f"s{offset}.ts", video="h264-b", seconds=4, gop=30, size="160x90",
                              more=("-output_ts_offset", offset))  # fmt: skip
        recorded = Recorded(tmp_path / offset)
        assert recorded.run("mpegts", pieces(source.read_bytes())).jumps == 0
        shas.append([(s.start, s.duration, s.keyframes) for s in recorded.segments])
        check_time_line(recorded)
    assert shas[0] == shas[1]


@pytest.mark.parametrize("jump", [3_600_000, -3_600_000, 20_000, -1500], ids=str)
@pytest.mark.parametrize("skew", [0, 300], ids=["at once", "sound later"])
def test_a_jump_is_taken_out_and_flagged(tags: list[Tag], tmp_path: Path, jump: int, skew: int) -> None:
    """From 5 s on the clock is another; sound may pass the jump a little later than the picture."""
    base = flv.moved(tags, 4_000_000)
    changed = [
        t._replace(time=t.time + jump) if t.time >= 4_005_000 + (skew if t.kind == AUDIO else 0) else t for t in base
    ]
    recorded = Recorded(tmp_path / "jump")
    summary = recorded.run("flv", paced(tags, changed))
    assert summary.jumps == 1, "one jump, though both tracks make it"
    usual = plain(tags, tmp_path / "usual")
    assert frames(recorded) == frames(usual)
    assert [s.discontinuity for s in recorded.segments].count(True) == 1
    assert next(s for s in recorded.segments if s.discontinuity).start // 90_000 == 5
    made, wanted = recorded.segments[-1], usual.segments[-1]
    assert abs(made.start + made.duration - wanted.start - wanted.duration) <= 9000
    check_time_line(recorded)
    ends = [read_fragments(recorded.segments[-1].path).tables[t] for t in (1, 2)]
    apart = ends[0].dts[-1] / 90_000 - ends[1].dts[-1] / 48_000
    before = [read_fragments(usual.segments[-1].path).tables[t] for t in (1, 2)]
    assert abs(apart - (before[0].dts[-1] / 90_000 - before[1].dts[-1] / 48_000)) < 0.05, "in step as before"


def test_a_pause_of_the_encoder_is_a_gap_and_no_jump(tags: list[Tag], tmp_path: Path) -> None:
    late = [t._replace(time=t.time + 25_000) if t.time >= 4000 else t for t in tags]
    recorded = Recorded(tmp_path)
    fed = paced(late, late)
    assert recorded.run("flv", fed).jumps == 0
    assert [s.start // 90_000 for s in recorded.segments] == [0, 2, 29, 31]
    assert [s.discontinuity for s in recorded.segments] == [False, False, True, False]
    assert recorded.segments[1].duration < 190_000, "a gap is not padded"
    assert recorded.segments[2].wall_start_ms - recorded.segments[0].wall_start_ms == 29_000
    check_time_line(recorded)


def test_sound_may_vanish_and_return(tags: list[Tag], tmp_path: Path) -> None:
    mute = [t for t in tags if not (t.kind == AUDIO and not t.is_config and 2500 <= t.time < 6000)]
    recorded = plain(mute, tmp_path)
    assert [s.start // 90_000 for s in recorded.segments] == [0, 2, 4, 6]
    assert len(frames(recorded)) == 240
    sound = np.concatenate([t.dts for s in recorded.segments if (t := read_fragments(s.path).tables.get(2))])
    steps = np.diff(sound)
    assert (steps > 2000).sum() == 1
    assert abs(int(steps.max()) - 3.5 * 48_000) < 2100
    assert all(not s.discontinuity for s in recorded.segments)
    check_time_line(recorded)


def test_the_picture_may_vanish_and_return(tags: list[Tag], tmp_path: Path) -> None:
    """25 s of sound alone between picture and picture."""
    sound = [t for t in tags if t.kind == AUDIO and not t.is_config]
    period = sound[-1].time - sound[0].time + 21
    first = [t for t in tags if t.time < 4000]
    more = [t._replace(time=t.time + 4000 + period * n) for n in range(3) for t in sound]
    end = more[-1].time + 21
    last = [t._replace(time=t.time - 2000 + end) for t in tags if t.time >= 2000 and not t.is_config]
    stream = [*first, *more, *last]
    recorded = Recorded(tmp_path)
    assert recorded.run("flv", paced(stream, stream)).jumps == 0
    with_picture = [s.start // 90_000 for s in recorded.segments if s.keyframes]
    assert with_picture[:2] == [0, 2]
    assert with_picture[2] >= 27
    assert len(recorded.segments) > 10, "sound goes on being cut"
    assert {s.timescale for s in recorded.segments} == {90_000}
    assert {s.init_number for s in recorded.segments} == {0}
    total = sum(s.duration for s in recorded.segments) / 90_000
    assert abs(total - (end / 1000 + 6)) < 0.3
    assert media.warnings(recorded.joined()) == ""
    check_time_line(recorded)


def test_sound_may_lead_or_follow(tags: list[Tag], tmp_path: Path) -> None:
    """Sound that arrives 0.7 s before or 0.3 s after its picture is still cut where the picture is."""
    for lead in (700, -300):
        order = sorted(tags, key=lambda t: (not t.is_config, t.time - (lead if t.kind == AUDIO else 0)))
        recorded = plain(order, tmp_path / str(lead))
        for info in recorded.segments[1:-1]:
            sound = read_fragments(info.path).tables[2]
            assert 0 <= sound.dts[0] / 48_000 - info.start / 90_000 < 0.03
            assert abs((sound.dts[-1] + 1024) / 48_000 - (info.start + info.duration) / 90_000) < 0.03
        assert media.warnings(recorded.joined()) == ""
        check_time_line(recorded)


def test_a_track_that_comes_late_begins_a_new_init_segment(tags: list[Tag], tmp_path: Path) -> None:
    for late, flags in ((AUDIO, 1), (VIDEO, 4)):
        stream = [t for t in tags if not (t.kind == late and t.time < 3000 and not t.is_config)]
        headers = [t for t in stream if t.kind == late and t.is_config]
        stream = [t for t in stream if t not in headers]
        at = next(i for i, t in enumerate(stream) if t.kind == late)
        stream[at:at] = [t._replace(time=stream[at].time) for t in headers]
        recorded = Recorded(tmp_path / str(late))
        recorded.run("flv", live(stream, flags))
        inits = [parse_init(recorded.init(n).read_bytes()) for n in (0, 1)]
        assert [[c.kind for c in tracks] for tracks in inits] == [
            ["video" if late == AUDIO else "audio"],
            ["video", "audio"],
        ]
        changed = next(s for s in recorded.segments if s.init_number == 1)
        assert changed.discontinuity
        assert changed.start / changed.timescale < 5.1
        first = read_fragments(changed.path).tables[2 if late == AUDIO else 1].dts[0]
        assert 2.9 < first / (48_000 if late == AUDIO else 90_000) < 3.1, "nothing is lost up to the next keyframe"
        for number in (0, 1):
            joined = recorded.joined(s for s in recorded.segments if s.init_number == number)
            assert media.warnings(joined) == ""
        check_time_line(recorded)


def test_an_announced_track_that_never_comes_is_not_waited_for_long(tags: list[Tag], tmp_path: Path) -> None:
    picture = plain([t for t in tags if t.kind != AUDIO], tmp_path / "picture")
    assert picture.segments[0].start == 0
    assert sum(s.duration for s in picture.segments) == pytest.approx(8 * 90_000, abs=9000)
    sound = [t for t in tags if t.kind == AUDIO]
    longer = sound + [t._replace(time=t.time + 8000) for t in sound if not t.is_config]
    alone = plain(longer, tmp_path / "sound")
    assert sum(s.duration for s in alone.segments) == pytest.approx(16 * 48_000, abs=6000)
    assert {s.timescale for s in alone.segments} == {48_000}


def test_stamps_that_repeat_or_step_back_a_little_keep_their_order(tags: list[Tag], tmp_path: Path) -> None:
    shaky = [t._replace(time=max(t.time + (-40 if i % 5 == 0 else 0), 0)) for i, t in enumerate(tags)]
    recorded = Recorded(tmp_path / "shaky")
    assert recorded.run("flv", live(shaky)).jumps == 0
    assert len(frames(recorded)) >= 239
    sound = np.concatenate([read_fragments(s.path).tables[2].dts for s in recorded.segments])
    steps = np.diff(sound)[1:]  # the first stamp is an odd one, and nothing comes before it that says so
    assert steps.min() >= 1023, "sound stays on its grid"
    assert steps.max() <= 1025
    check_time_line(recorded)


@pytest.mark.parametrize(("every_ms", "segments"), [(2000, 4), (1950, 4), (1910, 4), (1890, 2), (1500, 2)], ids=str)
def test_a_keyframe_that_a_rounded_clock_brings_early_ends_a_segment(
    every_ms: int, segments: int, tmp_path: Path
) -> None:
    """Up to a tenth of a second before the two: otherwise every segment of such an encoder were twice as long."""
    whole = media.encode(tmp_path / "s.flv", video="h264", audio=None, seconds=8, gop=60, size="96x64")
    tags = [tag._replace(time=tag.time * every_ms // 2000) for tag in flv.split(whole.read_bytes())]
    recorded = Recorded(tmp_path / "out")
    recorded.run("flv", pieces(flv.join(tags, 1)))
    lengths = [round(s.duration / 90) for s in recorded.segments]
    assert len(lengths) == segments
    assert lengths[0] == pytest.approx(every_ms * 4 / segments, abs=40)
