"""What targets are sent, read back by parsers and decoders that did not write it."""

from __future__ import annotations

import gc
import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from services.ingester.rtmp.tags import read_media
from services.restreamer.model import FLICKS, Track, Unit
from services.restreamer.targets.backlog import OWN_BYTES, Backlog, Pool
from services.restreamer.targets.rtmp.pack import CHUNK_SIZE, RtmpPacker, patched
from services.restreamer.targets.shared_muxer import BACKLOG_BYTES, Recent, SharedMuxer
from services.restreamer.targets.srt.ts import PACKET, TsPacker
from services.restreamer.targets.terms import Packer, Tracks
from shared.media.bitstream.params import record_sets
from shared.media.crc import crc32
from shared.rtmp.chunks import AUDIO, VIDEO
from tests.support.media_streams import encode, frame_hashes, run, warnings
from tests.support.restream_units import AAC, AVC, flv_of, messages_of, picture, sound, units_of

MS = FLICKS // 1000
CODECS = [("h264-b", "aac"), ("hevc", "opus")]


def made(packer: Packer) -> SharedMuxer:
    return SharedMuxer(packer, Tracks())


@pytest.fixture(scope="module", params=CODECS, ids="-".join)
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    video, audio = request.param
    return encode(tmp_path_factory.mktemp("source") / "source.mp4", video=video, audio=audio, seconds=4, gop=30)


def digests(path: Path, stream: str = "v:0") -> list[str]:
    return [digest for _, digest in frame_hashes(path, stream)]


@pytest.mark.parametrize("form", ["flv", "ts"])
def test_a_decoder_sees_every_frame_of_what_was_packed(source: Path, form: str, tmp_path: Path) -> None:
    out = tmp_path / f"out.{form}"
    blocks = made(RtmpPacker() if form == "flv" else TsPacker()).feed(list(units_of(source, loops=2)))
    out.write_bytes(flv_of(blocks) if form == "flv" else b"".join(block.data for block in blocks))
    assert digests(out) == digests(source) * 2
    assert abs(len(frame_hashes(out, "a:0")) - 2 * len(frame_hashes(source, "a:0"))) <= 2  # edit lists of the MP4
    assert not warnings(out)


@pytest.mark.parametrize(
    ("video", "audio", "name"),
    [
        (("libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"), "libopus", "vp9.webm"),
        (("libsvtav1", "-preset", "12"), "aac", "av1.mp4"),
        (("libx264", "-preset", "ultrafast"), "libmp3lame", "mp3.mp4"),
    ],
)
def test_other_codecs_of_rtmp_are_decoded_too(video: tuple[str, ...], audio: str, name: str, tmp_path: Path) -> None:
    source, out = tmp_path / name, tmp_path / "out.flv"
    run("-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-f", "lavfi", "-i", "sine=r=48000",
        "-t", "2", "-c:v", *video, "-g", "30", "-pix_fmt", "yuv420p", "-c:a", audio, source)  # fmt: skip
    out.write_bytes(flv_of(made(RtmpPacker()).feed(list(units_of(source)))))
    assert digests(out) == digests(source)
    assert frame_hashes(out, "a:0")


@pytest.mark.parametrize("around_ms", [0xFFFFFF, 1 << 32], ids=["extended", "wrapped"])
def test_large_messages_keep_time_and_bytes_where_timestamps_grow_or_wrap(around_ms: int) -> None:
    start = around_ms - 100
    units = [picture(start, key=True, size=3 * CHUNK_SIZE + 5), sound(start, track=AAC)]
    units += [
        unit
        for at in range(start + 20, start + 300, 20)
        for unit in (picture(at, size=CHUNK_SIZE + at % 90, shown_ms=at + 60), sound(at))
    ]
    found = [message for message in messages_of(made(RtmpPacker()).feed(units)) if message.kind in (AUDIO, VIDEO)]
    frames = [message for message in found if message.payload[1] == 1]
    assert [message.timestamp for message in frames] == [unit.dts // MS % (1 << 32) for unit in units]
    heads = {AUDIO: 2, VIDEO: 5}
    sets = b"".join(len(nal).to_bytes(4, "big") + nal for nal in record_sets("h264", AVC.config))
    sent = [(sets if unit.track is AVC else b"") + unit.data for unit in units]
    assert [bytes(message.payload[heads[message.kind] :]) for message in frames] == sent
    offsets = {int.from_bytes(m.payload[2:5], "big", signed=True) for m in frames[2:] if m.kind == VIDEO}
    assert offsets == {60}


def test_times_of_odd_frame_rates_never_drift() -> None:
    """An hour at 30000/1001: each time is the true one, rounded; none falls behind."""
    step = FLICKS * 1001 // 30000
    units = [Unit("video", n * step, n * step, step, n == 0, picture(0).data, None if n else AVC) for n in range(36000)]
    messages = [m for m in messages_of(made(RtmpPacker()).feed([sound(0, track=AAC), *units])) if m.kind == VIDEO][1:]
    assert all(abs(m.timestamp - Fraction(n * 1001, 30)) <= Fraction(1, 2) for n, m in enumerate(messages))


def test_a_message_stream_with_another_number_gets_it_in_every_header() -> None:
    blocks = made(RtmpPacker()).feed([picture(0, key=True, size=2 * CHUNK_SIZE), sound(0, track=AAC), picture(40)])
    assert {message.stream_id for message in messages_of(blocks)} == {1}
    changed = messages_of(patched(block, 77) for block in blocks)
    assert {message.stream_id for message in changed} == {77}
    assert [m.payload for m in changed] == [m.payload for m in messages_of(blocks)]


def test_enhanced_tags_are_read_as_what_they_are() -> None:
    for codec, fourcc in (("hevc", "hvc1"), ("av1", "av01"), ("vp9", "vp09"), ("vp8", "vp08")):
        track = Track("video", codec, b"\x01config" if codec in ("hevc", "av1") else b"", 320, 180)
        unit = Unit("video", 0, 80 * MS, 40 * MS, key=True, data=b"data", track=track)
        blocks = made(RtmpPacker()).feed([unit, sound(0, track=AAC)])
        seen = [read_media(m.kind, m.payload) for m in messages_of(blocks) if m.kind == VIDEO]
        assert [(media.role, media.codec) for media in seen if media] == [("config", fourcc), ("frame", fourcc)]


@pytest.mark.parametrize("start_h", [0, Fraction(1 << 33, 90000 * 3600) - Fraction(1, 1800)], ids=["zero", "wrap"])
def test_transport_packets_count_and_their_clock_goes_on(source: Path, start_h: Fraction, tmp_path: Path) -> None:
    units = list(units_of(source, start=int(start_h * 3600 * FLICKS)))
    data = b"".join(block.data for block in made(TsPacker()).feed(units))
    counts: dict[int, int] = {}
    clocks, tables = [], set()
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        assert packet[0] == 0x47
        pid = int.from_bytes(packet[1:3], "big") & 0x1FFF
        if packet[3] & 0x10:
            assert packet[3] & 15 == (counts.get(pid, -1) + 1) & 15
            counts[pid] = packet[3] & 15
        if packet[3] & 0x20 and packet[4] and packet[5] & 0x10:
            clocks.append(int.from_bytes(packet[6:12], "big") >> 15)
        if pid in (0, 0x1000):
            section = packet[5 : 8 + (int.from_bytes(packet[6:8], "big") & 0xFFF)]
            assert crc32(section) == 0
            tables.add(section)
    steps = [(after - before) % (1 << 33) for before, after in pairwise(clocks)]
    assert max(steps) <= 9000  # 100 ms
    assert len(tables) == 2
    out = tmp_path / "out.ts"
    out.write_bytes(data)
    assert digests(out) == digests(source)


@pytest.mark.parametrize("packer", [RtmpPacker, TsPacker])
def test_who_comes_in_the_middle_begins_with_the_current_gop(
    source: Path, packer: type[RtmpPacker | TsPacker], tmp_path: Path
) -> None:
    units = list(units_of(source))
    lane, recent, cut = made(packer()), Recent(), len(units) * 2 // 3
    lane.feed(units[:cut])
    recent.add(units[:cut])
    late = SharedMuxer(packer(), recent.tracks)  # a format that nobody wanted until now
    late.feed(recent.units)
    pictures = [unit for unit in units if unit.kind == "video"]
    entry = max(n for n, unit in enumerate(pictures) if unit.key and unit.dts <= units[cut - 1].dts)
    for one in (lane, late):
        blocks = [*one.start(), *one.feed(units[cut:])]
        out = tmp_path / "out"
        out.write_bytes(flv_of(blocks) if packer is RtmpPacker else b"".join(block.data for block in blocks))
        assert digests(out) == digests(source)[entry:]


def test_a_gop_that_grows_too_large_is_not_kept() -> None:
    lane, recent = made(RtmpPacker()), Recent()
    units = [
        picture(0, key=True),
        sound(0, track=AAC),
        *(picture(at, size=BACKLOG_BYTES // 4) for at in range(40, 240, 40)),
    ]
    lane.feed(units)
    recent.add(units)
    assert (lane.start(), recent.units) == ([], [])
    lane.feed([picture(240, key=True)])
    recent.add([picture(240, key=True)])
    assert lane.start()
    assert len(recent.units) == 1


def test_a_minute_s_gop_is_kept_whole() -> None:
    lane, recent = made(RtmpPacker()), Recent()
    units = [picture(0, key=True), sound(0, track=AAC)]
    units += [picture(at, size=40_000) for at in range(40, 60_000, 40)]  # 8 Mbps
    for unit in units:
        lane.feed([unit])
        recent.add([unit])
    assert sum(block.units for block in lane.start()) == len(units)
    assert len(recent.units) == len(units)


def test_backlogs_of_a_process_share_what_is_beyond_their_own() -> None:
    pool = Pool(100)
    backlogs: list[Backlog[int]] = [Backlog(pool) for _ in range(3)]
    for backlog in backlogs:
        backlog.begin()
        backlog.add(0, OWN_BYTES)
    backlogs[0].add(1, 60)
    assert pool.left == 40
    backlogs[1].add(1, 30)
    backlogs[1].add(2, 30)  # more than there is: it keeps nothing, and gives back what it had
    assert [len(backlog.kept) for backlog in backlogs] == [2, 0, 1]
    assert pool.left == 40
    backlogs[1].begin()
    backlogs[1].add(0, OWN_BYTES + 40)
    assert (backlogs[1].kept, pool.left) == ([0], 0)
    del backlog, backlogs[0]  # a restream that ends gives back what it has
    gc.collect()
    assert pool.left == 60


def test_the_beginning_waits_for_the_sound_but_not_for_long() -> None:
    lane = made(RtmpPacker())
    assert not lane.feed([picture(0, key=True), picture(40)])
    both = messages_of(lane.feed([sound(60, track=AAC)]))
    assert [message.kind for message in both] == [18, VIDEO, AUDIO, VIDEO, VIDEO, AUDIO]
    lane = made(RtmpPacker())
    assert not lane.feed([picture(0, key=True), picture(40)])
    assert lane.feed([picture(600)])


def test_a_join_brings_its_configuration_in_the_stream() -> None:
    lane = made(RtmpPacker())
    lane.feed([picture(0, key=True), sound(0, track=AAC), picture(40)])
    other = replace(AVC, config=AVC.config + b"\0")
    joined = messages_of(lane.feed([replace(picture(80, key=True), track=other), sound(80, track=AAC)]))
    assert [(m.kind, bytes(m.payload[:2])) for m in joined if m.kind != 18] == [
        (VIDEO, b"\x17\0"), (VIDEO, b"\x17\1"), (AUDIO, b"\xaf\0"), (AUDIO, b"\xaf\1"),
    ]  # fmt: skip
    assert bytes(joined[1].payload).endswith(other.config)


@pytest.mark.parametrize(
    ("packer", "track", "why"),
    [
        (TsPacker, Track("video", "vp9", b"", 320, 180), "SRT.*does not carry vp9"),
        (TsPacker, Track("video", "h264", b"\x01\x02", 320, 180), "configuration of the h264 track cannot be read"),
        (TsPacker, Track("audio", "aac", b"\x10\x80", sample_rate=48000), "channel layout 0"),
        (TsPacker, Track("audio", "vorbis", b""), "SRT.*does not carry vorbis"),
        (RtmpPacker, Track("audio", "vorbis", b""), "RTMP does not carry vorbis"),
        (RtmpPacker, Track("video", "hevc", b"", 320, 180), "without its configuration"),
    ],
)
def test_what_a_format_cannot_carry_is_told_and_ends_when_it_can(
    packer: type[RtmpPacker | TsPacker], track: Track, why: str
) -> None:
    lane = made(packer())
    first = picture(0, key=True)
    bad = [replace(first, track=track), sound(0, track=AAC)]
    if track.kind == "audio":
        bad = [first, sound(0, track=track)]
    lane.feed(bad)
    assert re.search(why, lane.unfit)
    assert not lane.start()
    assert lane.feed([picture(40, key=True), sound(40, track=AAC), picture(80, key=True), sound(80)])
    assert not lane.unfit
    assert lane.start()
