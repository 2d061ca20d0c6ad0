"""The recorder over real encoders' streams: what comes out is what went in."""

from __future__ import annotations

import hashlib
import itertools
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import av
import pytest

from services.ingester.recorder.model import RecorderLimits
from services.ingester.recorder.recover import recover
from shared.media.mp4.boxes import children
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.media_recording import START_MS, Recorded, pieces, undated

CASES = [
    ("h264", "aac", "flv"),
    ("h264-b", "aac", "flv"),
    ("hevc", "opus", "flv"),
    ("av1", "aac", "flv"),
    ("av1-aom", "opus", "flv"),
    ("vp9", "opus", "flv"),
    ("h264-b", "aac", "ts"),
    ("hevc", "aac", "ts"),
    ("h264", "opus", "ts"),
]
CONTAINER = {"flv": "flv", "ts": "mpegts"}


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    video, audio, suffix = request.param
    out = tmp_path_factory.mktemp("source") / f"source.{suffix}"
    return media.encode(out, video=video, audio=audio, seconds=5, gop=30)


def times(path: Path) -> dict[str, list[Fraction]]:
    """Presentation times of all packets by track, in s."""
    found: dict[str, list[Fraction]] = {"video": [], "audio": []}
    with av.open(str(path)) as container:
        for packet in container.demux():
            if packet.size:
                found[packet.stream.type].append(packet.pts * packet.time_base)
    return {kind: sorted(values) for kind, values in found.items()}


def sounds(path: Path) -> list[bytes]:
    """The raw audio packets."""
    with av.open(str(path)) as container:
        packets = [bytes(p) for p in container.demux(audio=0) if p.size]
    adts = all(p[0] == 0xFF and p[1] & 0xF6 == 0xF0 for p in packets)
    return [p[7:] for p in packets] if adts else packets


def test_every_frame_comes_out_as_it_went_in(source: Path, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    summary = recorded.run(CONTAINER[source.suffix[1:]], pieces(source.read_bytes()))
    assert (summary.damaged, summary.jumps) == (0, 0)
    joined = recorded.joined()
    assert media.warnings(joined) == ""
    assert [h for _, h in media.frame_hashes(joined)] == [h for _, h in media.frame_hashes(source)]
    sound, wanted = sounds(joined), sounds(source)
    assert 0 <= len(wanted) - len(sound) <= 3, "only what came before the first picture is left out"
    assert sound == wanted[-len(sound) :]


def test_sound_and_picture_keep_their_distance(source: Path, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.run(CONTAINER[source.suffix[1:]], pieces(source.read_bytes()))
    made, wanted = times(recorded.joined()), times(source)
    shift = wanted["video"][0] - made["video"][0]
    assert all(abs(w - m - shift) <= Fraction(1, 900) for w, m in zip(wanted["video"], made["video"], strict=True))
    tail = wanted["audio"][-len(made["audio"]) :]
    assert all(abs(w - m - shift) <= Fraction(2, 1000) for w, m in zip(tail, made["audio"], strict=True))


def test_segments_say_what_they_are(source: Path, tmp_path: Path) -> None:
    recorded = Recorded(tmp_path)
    recorded.run(CONTAINER[source.suffix[1:]], pieces(source.read_bytes()))
    segments = recorded.segments
    assert [s.sequence for s in segments] == list(range(3))
    assert [s.first_of_init for s in segments] == [True, False, False]
    end = segments[-1].start + segments[-1].duration
    began = START_MS - end // 90  # all came at once: the last frame was made just then, the others before it
    assert len(recorded.first_frame_ms) == 1
    assert abs(recorded.first_frame_ms[0] - began) <= 200
    assert segments[0].start == 0
    assert all(a.start + a.duration == b.start for a, b in itertools.pairwise(segments))
    assert all(abs(s.duration - 180_000) <= 90 for s in segments[1:-1]), "2 s, as the encoder rounds it"
    assert 180_000 - 90 <= segments[0].duration <= 180_000 + 7290, "with the sound before the first picture"
    assert not any(s.discontinuity for s in segments)
    first_audio = [t.dts[0] for s in segments if (t := read_fragments(s.path).tables.get(2)) is not None]
    for info, audio in zip(segments, first_audio, strict=True):
        data = info.path.read_bytes()
        assert (info.bytes, info.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        table = read_fragments(info.path).tables[1]
        assert 0 <= table.dts[0] - info.start <= (7290 if not info.sequence else 0)
        assert table.sync[0]
        assert info.keyframes == tuple(table.pts[table.sync])
        assert int(table.dts[-1] + table.duration[-1]) == info.start + info.duration
        parts = sum(1 for b in children(data) if b.kind == b"moof")
        assert info.duration / 45_000 - 1 <= parts <= info.duration / 45_000 + 1
        at_most = 0.03 if info.sequence else 0.1
        assert 0 <= audio / 48_000 - info.start / 90_000 < at_most, "sound is cut where the picture is"
        alone = tmp_path / "alone.mp4"
        alone.write_bytes(recorded.init().read_bytes() + data)
        assert media.warnings(alone) == ""
    assert [c.track_id for c in parse_init(recorded.init().read_bytes())] == [1, 2]
    assert undated(recover(tmp_path)) == undated(segments), "the boxes alone say all of it"


@pytest.mark.parametrize("suffix", ["flv", "ts"])
def test_picture_alone_and_sound_alone(tmp_path: Path, suffix: str) -> None:
    for video, audio in (("h264", None), (None, "aac")):
        source = media.encode(tmp_path / f"{video}.{suffix}", video=video, audio=audio, seconds=5, gop=30)
        recorded = Recorded(tmp_path / f"{video}-{suffix}")
        recorded.run(CONTAINER[suffix], pieces(source.read_bytes(), 2000))
        assert media.warnings(recorded.joined()) == ""
        stream = "v:0" if video else "a:0"
        made, wanted = (media.frame_hashes(p, stream) for p in (recorded.joined(), source))
        assert [h for _, h in made] == [h for _, h in wanted]
        assert len(recorded.segments) == 3
        assert {s.timescale for s in recorded.segments} == {90_000 if video else 48_000}
        assert all(1.9 <= s.duration / s.timescale <= 2.1 for s in recorded.segments[:-1])
        assert all(
            a.start + a.duration == b.start for a, b in zip(recorded.segments, recorded.segments[1:], strict=False)
        )
        assert undated(recover(recorded.folder)) == undated(recorded.segments)


def test_bytes_may_come_in_any_pieces(tmp_path: Path) -> None:
    for suffix, sizes in (("flv", (1, 997, 10**9)), ("ts", (7, 1316, 10**9))):
        source = media.encode(tmp_path / f"s.{suffix}", video="h264-b", seconds=1, gop=15, size="64x64")
        results = []
        for size in sizes:
            recorded = Recorded(tmp_path / f"{suffix}-{size}")
            recorded.run(CONTAINER[suffix], pieces(source.read_bytes(), size))
            results.append([(s.start, s.duration, s.sha256) for s in recorded.segments])
        assert results[0] == results[1] == results[2]


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    drop = ("-vf", r"select='lt(mod(n\,7)\,4)+not(mod(n\,30))'", "-fps_mode", "vfr")
    source = media.encode(
        tmp_path / "s.ts", video="h264-b", seconds=4, more=(*drop, "-force_key_frames", "expr:gte(t,n_forced)")
    )
    recorded = Recorded(tmp_path / "out")
    recorded.run("mpegts", pieces(source.read_bytes()))
    made, wanted = times(recorded.joined())["video"], times(source)["video"]
    assert [t - made[0] for t in made] == [t - wanted[0] for t in wanted]
    assert len({b - a for a, b in itertools.pairwise(made)}) > 1
    assert media.warnings(recorded.joined()) == ""


def test_no_keyframe_for_long_cuts_all_the_same(tmp_path: Path) -> None:
    source = media.encode(tmp_path / "s.flv", video="h264", seconds=4, gop=1000, size="64x64")
    recorded = Recorded(tmp_path / "out")
    recorded.run("flv", pieces(source.read_bytes()), RecorderLimits(longest=timedelta(seconds=1.5)))
    assert [bool(s.keyframes) for s in recorded.segments] == [True, False, False]
    made, wanted = (media.frame_hashes(p) for p in (recorded.joined(), source))
    assert [h for _, h in made] == [h for _, h in wanted]
    small = Recorded(tmp_path / "small")
    small.run("flv", pieces(source.read_bytes()), RecorderLimits(largest=60_000))
    assert len(small.segments) > 1
    assert all(s.bytes < 200_000 for s in small.segments)


def test_parameters_that_change_begin_a_new_init_segment(tmp_path: Path) -> None:
    for suffix in ("flv", "ts"):
        first = media.encode(tmp_path / f"a.{suffix}", seconds=3, gop=30)
        second = media.encode(tmp_path / f"b.{suffix}", seconds=3, gop=30, size="160x90", video="h264-b")
        if suffix == "flv":
            data = first.read_bytes() + flv.join(flv.moved(flv.split(second.read_bytes()), 3000))[13:]
        else:
            data = first.read_bytes() + second.read_bytes()
        recorded = Recorded(tmp_path / suffix)
        summary = recorded.run(CONTAINER[suffix], pieces(data))
        numbers = [s.init_number for s in recorded.segments]
        assert set(numbers) == {0, 1}
        changed = next(s for s in recorded.segments if s.init_number == 1)
        assert changed.discontinuity
        assert changed.first_of_init
        assert [(c.width, c.height) for n in (0, 1) for c in parse_init(recorded.init(n).read_bytes())[:1]] == [
            (320, 180),
            (160, 90),
        ]
        for number, path in ((0, first), (1, second)):
            joined = recorded.joined(s for s in recorded.segments if s.init_number == number)
            made, wanted = ([h for _, h in media.frame_hashes(p)] for p in (joined, path))
            assert made == wanted
        assert abs(sum(s.duration for s in recorded.segments) / 90_000 - 6) < 0.2
        assert summary.damaged == 0
        assert undated(recover(recorded.folder)) == undated(recorded.segments)


def test_the_wall_clock_follows_an_encoder_that_drifts(tmp_path: Path) -> None:
    source = media.encode(tmp_path / "s.flv", audio=None, seconds=8, gop=30, size="64x64")
    tags = flv.split(source.read_bytes())
    fed: list[bytes | int] = [flv.header(1)]
    for before, tag in zip([tags[0], *tags], tags, strict=False):
        step = tag.time - before.time
        fed += [step + (1 if tag.time % 100 < 34 else 0), flv.encode(tag)]  # the encoder's clock is 1 % slow
    recorded = Recorded(tmp_path / "out")
    recorded.run("flv", fed)
    walls = [s.wall_start_ms - recorded.first_frame_ms[0] for s in recorded.segments]
    assert all(2000 * n <= wall <= 2002 * n for n, wall in enumerate(walls)), "at most 1 ms a second"
    assert walls[-1] > 6000


def test_a_stream_may_go_on_with_new_parameters(tmp_path: Path) -> None:
    first = flv.split(media.encode(tmp_path / "a.flv", seconds=2, gop=30, size="64x64").read_bytes())
    larger = flv.split(media.encode(tmp_path / "b.flv", seconds=2, gop=30, size="96x64").read_bytes())
    recorded = Recorded(tmp_path / "out")
    summary = recorded.run("flv", pieces(flv.join([*first, *flv.moved(first, 2020), *flv.moved(larger, 4040)])))
    assert [(s.init_number, s.discontinuity) for s in recorded.segments] == [(0, False), (0, False), (1, True)]
    assert summary.jumps == 0
    assert sum(s.duration for s in recorded.segments) == pytest.approx(6 * 90_000, abs=9000)


@pytest.mark.parametrize(("video", "suffix"), [("h264-open", "ts"), ("h264-open", "flv"), ("hevc-open", "ts")])
def test_open_gops_lose_no_picture(tmp_path: Path, video: str, suffix: str) -> None:
    """Pictures shown before a keyframe but sent after it stay, wherever a segment begins."""
    source = media.encode(tmp_path / f"s.{suffix}", video=video, audio=None, seconds=6, gop=26)
    recorded = Recorded(tmp_path / "out")
    recorded.run(CONTAINER[suffix], pieces(source.read_bytes()))
    assert len(recorded.segments) == 3
    made, wanted = (media.frame_hashes(p) for p in (recorded.joined(), source))
    assert [h for _, h in made] == [h for _, h in wanted]
    tables = [read_fragments(s.path).tables[1] for s in recorded.segments]
    assert any(t.pts.min() < t.pts[0] for t in tables), "the GOPs are open indeed"
    assert all(t.sync[0] for t in tables)


@pytest.mark.parametrize("gop", [100, 1])
def test_slides_with_sound_keep_every_picture(tmp_path: Path, gop: int) -> None:
    """A picture every 2.5 s, only the first of them a keyframe, or all."""
    source = media.encode(tmp_path / "s.flv", rate="2/5", gop=gop, seconds=15, size="64x64")
    recorded = Recorded(tmp_path / "out")
    recorded.run("flv", pieces(source.read_bytes(), 500))
    made, wanted = (media.frame_hashes(p) for p in (recorded.joined(), source))
    assert [h for _, h in made] == [h for _, h in wanted]
    assert [t - made[0][0] for t, _ in made] == [t - wanted[0][0] for t, _ in wanted]
    assert not any(s.discontinuity for s in recorded.segments)
    assert sum(s.duration for s in recorded.segments) == pytest.approx(15 * 90_000, abs=9000)
    assert undated(recover(recorded.folder)) == undated(recorded.segments)


def test_segments_play_as_hls(tmp_path: Path) -> None:
    source = media.encode(tmp_path / "s.ts", video="h264-b", seconds=5, gop=30)
    recorded = Recorded(tmp_path / "out")
    recorded.run("mpegts", pieces(source.read_bytes()))
    rows = [f"#EXTINF:{s.duration / s.timescale:.5f},\n{s.path.name}" for s in recorded.segments]
    playlist = recorded.folder / "index.m3u8"
    head = '#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n#EXT-X-MAP:URI="init-0.mp4"\n'
    playlist.write_text(head + "\n".join(rows) + "\n#EXT-X-ENDLIST\n")
    assert media.warnings(playlist) == ""
    assert [h for _, h in media.frame_hashes(playlist)] == [h for _, h in media.frame_hashes(source)]
