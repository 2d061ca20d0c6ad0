"""Files as encoders, editors and broken recorders leave them."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from services.restreamer.model import FLICKS, Media, Packet, SourceError
from services.restreamer.sources import Access, resolve_range
from services.restreamer.sources.flv import seek as flv_seek
from shared.messages.restreams import Range
from tests.support.framecode import ffmpeg
from tests.support.framecode_record import Spec, encode
from tests.support.sources import ACCOUNT, access_to, check_times, numbers, opened, seconds

ALL = list(range(180))


@pytest.fixture
def access(tmp_path: Path) -> Access:
    made = access_to(tmp_path)
    (made.library / ACCOUNT).mkdir(parents=True)
    return made


def make(access: Access, name: str, spec: Spec = Spec()) -> bytes:  # noqa: B008  a frozen value
    path = access.library / ACCOUNT / name
    encode(spec, path)
    return path.read_bytes()


def open_bytes(access: Access, data: bytes, name: str = "file") -> Media:
    (access.library / ACCOUNT / name).write_bytes(data)
    return opened("library", name, access)


def pictures(packets: list[Packet]) -> list[Packet]:
    return [p for p in packets if p.kind == "video"]


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("hevc.mp4", Spec(codec="hevc")),
        ("hevc.ts", Spec(codec="hevc")),
        ("opus.mkv", Spec(audio="opus")),
        ("quiet.mp4", Spec(audio=None)),
        ("quiet.ts", Spec(audio=None)),
        ("ten.mp4", Spec(pixels="yuv420p10le", codec="hevc")),
        ("vp8.webm", Spec(audio="opus", options=("-c:v", "libvpx", "-deadline", "realtime", "-b:v", "1M", "-g", "60"))),
        ("parts.mp4", Spec(options=("-movflags", "frag_keyframe+empty_moov"))),
    ],
)
def test_what_is_copied_out_decodes_to_what_went_in(access: Access, name: str, spec: Spec) -> None:
    make(access, name, spec)
    media = opened("library", name, access)
    packets = list(media.packets(0))
    check_times(packets)
    assert numbers(media.video, packets) == ALL
    assert media.video is not None
    assert (media.video.width, media.video.height, media.video.rate) == (320, 180, 30)
    assert pictures(packets)[0].pts == 0
    assert (media.audio is None) == (spec.audio is None)
    if media.audio is not None:
        assert (media.audio.sample_rate, media.audio.channels) == (48000, 1)
    for start, first in ((1.0, 0), (2.0, 60), (5.99, 120), (0.0, 0)):
        some = list(media.packets(seconds(start)))
        assert numbers(media.video, some) == ALL[first:]
    media.close()


def test_a_rate_that_varies_keeps_its_times(access: Access) -> None:
    make(access, "a.mp4")
    folder = access.library / ACCOUNT
    wobble = ["-vf", "setpts='(N/30+0.012*sin(N*1.7))/TB'", "-fps_mode", "vfr", "-enc_time_base", "1:90000"]
    command = [ffmpeg(), "-v", "error", "-i", folder / "a.mp4", *wobble, "-bf", "2", folder / "vfr.mp4"]
    subprocess.run(command, check=True)
    media = opened("library", "vfr.mp4", access)
    packets = list(media.packets(0))
    check_times(packets)
    assert numbers(media.video, packets) == ALL
    shown = sorted(p.pts for p in pictures(packets))
    steps = {round(1000 * (b - a) / FLICKS) for a, b in pairwise(shown)}
    assert min(steps) < 28
    assert max(steps) > 38
    media.close()


def test_what_an_editor_cut_off_lies_before_zero(access: Access) -> None:
    make(access, "a.mp4")
    folder = access.library / ACCOUNT
    command = [ffmpeg(), "-v", "error", "-ss", "1.3", "-i", folder / "a.mp4", "-c", "copy", folder / "cut.mp4"]
    subprocess.run(command, check=True)
    media = opened("library", "cut.mp4", access)
    packets = list(media.packets(0))
    assert numbers(media.video, packets) == ALL
    hidden = [p for p in pictures(packets) if p.pts < 0]
    assert len(hidden) == 39
    assert min(p.pts for p in pictures(packets) if p.pts >= 0) < seconds(Fraction(1, 30))
    media.close()


@pytest.mark.parametrize("kind", ["ts", "flv"])
def test_times_that_jump_go_on(access: Access, kind: str) -> None:
    first = make(access, f"a.{kind}")
    second = make(access, f"b.{kind}", Spec(first_number=180))
    media = open_bytes(access, first + (second[13:] if kind == "flv" else second))
    packets = list(media.packets(0))
    check_times(packets)
    assert numbers(media.video, packets) == list(range(360))
    steps = [b.dts - a.dts for a, b in pairwise(pictures(packets))]
    assert max(steps) < seconds(0.35)  # the sound of the first one is longer than its pictures
    assert abs(pictures(packets)[-1].pts - seconds(12)) < seconds(0.5)
    heard = [p.dts for p in packets if p.kind == "audio"]
    assert abs(heard[-1] - pictures(packets)[-1].dts) < seconds(0.5)
    assert numbers(media.video, media.packets(seconds(9)))[-1] == 359
    media.close()


def test_another_size_within_a_file_is_a_seam(access: Access) -> None:
    first = make(access, "a.ts")
    large = Spec(first_number=180, options=("-vf", "scale=640:360:flags=neighbor"))
    media = open_bytes(access, first + make(access, "b.ts", large))
    small = media.video
    packets = list(media.packets(0))
    assert numbers(small, packets) == ALL
    seam = media.resumes
    assert seam is not None
    assert media.video is not None
    assert small is not None
    assert (small.width, media.video.width) == (320, 640)
    after = list(media.packets(seam))
    assert after[0].key
    assert len(pictures(after)) == 180
    assert pictures(after)[0].pts == seam
    assert media.resumes is None
    media.close()


@pytest.mark.parametrize("kinds", [("h264", "hevc"), ("hevc", "h264")])
def test_another_codec_within_a_transport_stream_is_a_seam(access: Access, kinds: tuple[str, str]) -> None:
    first = make(access, "a.ts", Spec(codec=kinds[0]))
    media = open_bytes(access, first + make(access, "b.ts", Spec(codec=kinds[1], first_number=180)))
    before = media.video
    seen = numbers(before, media.packets(0))
    assert seen[:177] == ALL[:177]  # the last ones are lost in FFmpeg's parser
    assert media.resumes is not None
    after = list(media.packets(media.resumes))
    assert (before and before.codec, media.video and media.video.codec) == kinds
    assert numbers(media.video, after) == list(range(180, 360))
    assert any(p.kind == "audio" for p in after)
    media.close()


OTHERS = {
    "flv1": ("-c:v", "flv1", "-q:v", "3"), "hevc": ("-c:v", "libx265", "-x265-params", "log-level=none"),
    "av1": ("-c:v", "libsvtav1", "-preset", "12"), "mp3": ("-c:a", "libmp3lame", "-ar", "44100"),
}  # fmt: skip


@pytest.mark.parametrize("again", [False, True], ids=["once", "back"])
@pytest.mark.parametrize("change", OTHERS)
def test_another_codec_within_an_flv_is_a_seam(access: Access, change: str, *, again: bool) -> None:
    """The second part's times begin anew, as where an encoder was started again."""
    first = make(access, "a.flv")
    second = make(access, "b.flv", Spec(first_number=180, options=OTHERS[change]))
    data = first + second[13:]
    if again:
        data += make(access, "c.flv", Spec(first_number=360))[13:]
    media = open_bytes(access, data)
    codecs = []
    resumes: int | None = 0
    for part in range(2 + again):
        assert resumes is not None
        assert abs(resumes - part * 6 * FLICKS) < FLICKS // 5
        track = media.video
        codecs.append((media.video and media.video.codec, media.audio and media.audio.codec))
        packets = list(media.packets(resumes))
        resumes = media.resumes
        assert numbers(track, packets) == list(range(part * 180, part * 180 + 180))
        assert any(packet.kind == "audio" for packet in packets)
    assert media.resumes is None
    other = ("h264", "mp3") if change == "mp3" else (change, "aac")
    assert codecs == [("h264", "aac"), other, ("h264", "aac")][: 2 + again]
    # And once more from behind the change, from before it, and from the start.
    for start, wanted in ((9, 180), (5, 0), (0, 0)):
        flow = media.packets(start * FLICKS)
        packets, track = [next(flow)], media.video
        packets += flow
        seen = numbers(track, packets)
        assert wanted <= seen[0] <= wanted + start * 30 % 180
        assert seen[-1] == wanted + 179
    media.close()


@pytest.mark.parametrize("kinds", [("h264", "mpeg2video"), ("mpeg2video", "hevc"), ("h264", "h264")])
def test_another_codec_or_pid_within_a_transport_stream_is_a_seam(access: Access, kinds: tuple[str, str]) -> None:
    coded = {"mpeg2video": {"options": ("-c:v", "mpeg2video", "-q:v", "3", "-c:a", "mp2")}}
    specs = [Spec(**coded.get(kind, {"codec": kind})) for kind in kinds]
    other = (*(specs[1].options or ()), "-streamid", "0:300", "-streamid", "1:301")
    first = make(access, "a.ts", specs[0])
    media = open_bytes(access, first + make(access, "b.ts", replace(specs[1], first_number=180, options=other)))
    before = media.video
    seen = numbers(before, list(media.packets(0)))
    assert seen[:177] == ALL[:177]
    assert media.resumes is not None
    after = list(media.packets(media.resumes))
    assert media.video is not None
    assert media.video.codec == kinds[1]
    assert numbers(media.video, after) == list(range(180, 360))
    assert any(p.kind == "audio" for p in after)
    media.close()


def test_sound_that_begins_late_in_an_flv_is_not_heard_and_breaks_nothing(access: Access) -> None:
    silent = make(access, "a.flv", Spec(audio=None))
    media = open_bytes(access, silent + make(access, "b.flv", Spec(first_number=180))[13:])
    assert media.audio is None
    packets = list(media.packets(0))
    assert numbers(media.video, packets) == list(range(360))
    media.close()


@pytest.mark.parametrize("name", ["a.mp4", "a.flv", "a.mkv"])
def test_a_title_in_an_old_encoding_is_no_fault(access: Access, name: str) -> None:
    whole = make(access, name, Spec(options=("-metadata", "title=Kueche")))
    assert whole.count(b"Kueche") == 1
    media = open_bytes(access, whole.replace(b"Kueche", b"K\xfcche "))
    assert numbers(media.video, media.packets(0)) == ALL
    media.close()


def test_one_broken_tag_is_not_another_codec(access: Access) -> None:
    whole = bytearray(make(access, "a.flv"))
    at = whole.index(b"\xaf\1", len(whole) // 2)  # a frame of sound
    whole[at] = 0x2F
    media = open_bytes(access, bytes(whole))
    assert numbers(media.video, media.packets(0)) == ALL
    media.close()


def test_broken_tags_in_an_flv_are_not_taken_for_another_codec(access: Access) -> None:
    whole = make(access, "a.flv")
    half = len(whole) // 2
    media = open_bytes(access, whole[:half] + whole[13:])  # the tag at the break is a mixture
    packets = list(media.packets(0))
    assert numbers(media.video, packets)[-180:] == ALL
    media.close()


def test_an_flv_that_changed_its_size_is_entered_from_its_start(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flv_seek, "NEAR", 1 << 12)
    monkeypatch.setattr(flv_seek, "BEFORE_MS", 100)
    first = make(access, "a.flv")
    large = Spec(first_number=180, options=("-vf", "scale=640:360:flags=neighbor", "-output_ts_offset", "6.3"))
    media = open_bytes(access, first + make(access, "b.flv", large)[13:])
    small = media.video
    assert numbers(small, media.packets(0)) == ALL
    seam = media.resumes
    assert seam is not None
    assert len(pictures(list(media.packets(seam)))) == 180
    assert media.video is not None
    assert media.video.width == 640
    again = pictures(list(media.packets(seam + seconds(4.5))))  # its first configuration is that of the small pictures
    assert (media.video.width, again[0].pts) == (640, seam + seconds(4))
    assert numbers(media.video and small, media.packets(seconds(2))) == ALL[60:]
    media.close()


def test_a_time_in_an_flv_is_found_by_halving(access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flv_seek, "NEAR", 1 << 12)
    monkeypatch.setattr(flv_seek, "BEFORE_MS", 100)
    media = open_bytes(access, make(access, "a.flv", Spec(seconds=Fraction(20))))
    for start in (19.9, 12.0, 7.5, 0.0, 2.1):
        packets = list(media.packets(seconds(start)))
        check_times(packets)
        first = int(start) // 2 * 60
        assert numbers(media.video, packets) == list(range(first, 600))
        assert abs(pictures(packets)[0].pts - seconds(Fraction(first, 30))) <= FLICKS // 1000
    media.close()


def test_sound_alone_is_played_from_any_time(access: Access) -> None:
    make(access, "sound.mp4", Spec(video=False))
    media = opened("library", "sound.mp4", access)
    assert media.video is None
    packets = list(media.packets(seconds(3)))
    assert packets[0].pts <= seconds(3) < packets[0].pts + packets[0].duration
    media.close()


def test_a_file_s_creation_is_its_wall_clock(access: Access) -> None:
    dated = Spec(options=("-metadata", "creation_time=2018-10-22T15:30:00Z"))
    make(access, "dated.mp4", dated)
    media = opened("library", "dated.mp4", access)
    assert media.wall_start_ms == 1_540_222_200_000
    wall = Range(clock="wall", start=media.wall_start_ms + 2000, end=media.wall_start_ms + 4000)
    assert resolve_range(media, wall) == (seconds(2), seconds(4))
    media.close()


@pytest.mark.parametrize("junk", [b"\0" * 500, b"\0\0\0\x18ftypisom" + b"\xff" * 3000, b"FLV\x01\x05" + b"x" * 900])
def test_garbage_is_refused(access: Access, junk: bytes) -> None:
    with pytest.raises(SourceError):
        open_bytes(access, junk)
