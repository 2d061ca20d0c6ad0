"""Receivers that copy: they keep the first configuration that they hear, and still have to show every file."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from services.restreamer.model import Unit
from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.shared_muxer import SharedMuxer
from services.restreamer.targets.srt.ts import PACKET, TsPacker
from services.restreamer.targets.terms import Tracks
from shared.media.bitstream.nal import join_sample, split_sample
from shared.media.bitstream.params import nal_type, record_sets, set_types, split_annexb
from shared.media.tracks import VideoCodec
from tests.support.framecode import ffmpeg, play
from tests.support.playout_files import Clip, make
from tests.support.playout_stage import Stage, item, spec
from tests.support.restream_targets import free_port, is_live, settle, targets
from tests.support.restream_targets import spec as target
from tests.support.restream_units import messages_of, units_of
from tests.support.waiting import wait_until

DEBIAN = shutil.which("ffmpeg")
VIDEO, DATA = 9, 18
GOP = "keyint=30:min-keyint=30:scenecut=0"
# Encoders that have nothing in common but size and pixel format.
UNLIKE = {
    "h264": (
        Clip(60, options=("-profile:v", "high")),
        Clip(60, 100, bframes=0, options=("-profile:v", "baseline", "-refs", "1", "-level", "3.1")),
    ),
    "h264, repeated in band": (
        Clip(60, suffix=".ts"),
        Clip(60, 100, bframes=0, suffix=".ts", options=("-profile:v", "main", "-refs", "4", "-coder", "0")),
    ),
    "hevc": (
        Clip(60, codec="hevc"),
        Clip(60, 100, codec="hevc", bframes=0, options=("-x265-params", f"ctu=16:{GOP}:log-level=none")),
    ),
}  # fmt: skip
NUMBERS = [*range(60), *range(100, 160)]


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Unit]]:
    found = {}
    for name, clips in UNLIKE.items():
        folder = tmp_path_factory.mktemp("unlike")
        stage = Stage(speed=16)
        stage.play(spec(*(item(make(clip, folder / str(number))) for number, clip in enumerate(clips))))
        assert [file.how for file in stage.files()] == ["copied"] * 2
        found[name] = stage.out.units
    return found


def receive(program: str, units: Sequence[Unit], out: Path) -> list[int]:
    """Let an ffmpeg take units by RTMP and copy them to a file; read the pictures' numbers from that."""
    port = free_port()
    url = f"rtmp://127.0.0.1:{port}/live/key"
    command = [program, "-hide_banner", "-nostdin", "-v", "error", "-y", "-listen", "1", "-i", url, "-c", "copy"]
    process = subprocess.Popen([*command, str(out)], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with targets(target(1, url, tries=100)) as made:
            settle(made, 1, is_live)
            for unit in units:
                made.feed([unit])
            size = sum(len(unit.data) for unit in units)
            wait_until(lambda: (made.tick(), made.states()[0].sent_bytes > size)[1])
        process.wait(60)
    finally:
        process.kill()
        process.wait()
    return play(out, audio=False).numbers


@pytest.mark.parametrize("form", ["mp4", "mkv", "flv", "ts"])
@pytest.mark.parametrize("name", UNLIKE)
@pytest.mark.parametrize("program", ["Debian", "new"])
def test_a_copying_ffmpeg_keeps_every_picture_of_another_encoder(
    program: str, name: str, form: str, played: dict[str, list[Unit]], tmp_path: Path
) -> None:
    found = DEBIAN if program == "Debian" else ffmpeg()
    if found is None or (program == "Debian" and name == "hevc"):
        pytest.skip("no such ffmpeg, or one that knows no HEVC in FLV")
    numbers = receive(found, played[name], tmp_path / f"out.{form}")
    # Where FFmpeg makes start codes of HEVC it repeats the first file's sets before ours: its decoder then drops the
    # picture before each keyframe.
    lost = {129} if (name, form) == ("hevc", "ts") else set()
    assert [number for number in NUMBERS if number not in lost or number in numbers] == numbers


def sets_sent(form: str, codec: VideoCodec, units: Sequence[Unit]) -> list[int]:
    """Count the parameter sets in each picture as it is sent that has any."""
    lane = SharedMuxer(RtmpPacker() if form == "rtmp" else TsPacker(), Tracks())
    blocks = lane.feed(units)
    if form == "srt":
        nals = split_annexb(b"".join(unpacked(b"".join(block.data for block in blocks))))
        return [sum(nal_type(codec, nal) in set_types(codec) for nal in nals)]
    counts = []
    for message in messages_of(blocks):
        body = bytes(message.payload)
        heads = {(True, 1): 8, (True, 3): 5, (False, 1): 5}
        head = heads.get((body[0] >= 0x80, body[0] & 15 if body[0] >= 0x80 else body[1]))
        if message.kind == VIDEO and head:
            nals = split_sample(body[head:], 4)
            counts.append(sum(nal_type(codec, nal) in set_types(codec) for nal in nals))
    return [count for count in counts if count]


def unpacked(data: bytes) -> Iterator[bytes]:
    """Give what the packets of the video PID carry."""
    for at in range(0, len(data), PACKET):
        packet = data[at : at + PACKET]
        if int.from_bytes(packet[1:3], "big") & 0x1FFF == 0x100:
            yield packet[5 + packet[4] :] if packet[3] & 0x20 else packet[4:]


@pytest.mark.parametrize("name", UNLIKE)
@pytest.mark.parametrize("form", ["rtmp", "srt"])
def test_parameter_sets_stand_before_each_keyframe_once(form: str, name: str, played: dict[str, list[Unit]]) -> None:
    units = played[name]
    codec: VideoCodec = "hevc" if name == "hevc" else "h264"
    keys = sum(unit.key for unit in units if unit.kind == "video")
    found = sets_sent(form, codec, units)
    assert keys == 4
    assert sum(found) == keys * len(set_types(codec))
    assert set(found) <= {len(set_types(codec)), sum(found)}


@pytest.mark.parametrize("form", ["rtmp", "srt"])
def test_a_keyframe_that_has_its_parameter_sets_gets_no_more(form: str, tmp_path: Path) -> None:
    path = make(Clip(30), tmp_path / "file")
    units = list(units_of(path))
    track = next(unit.track for unit in units if unit.track is not None and unit.kind == "video")
    sets = record_sets("h264", track.config)
    delimiter = b"\x09\xf0"
    for own, expected in (([], [2]), (sets, [2]), (sets[:1], [3]), ([delimiter], [2]), ([delimiter, *sets], [2])):
        changed = [
            replace(unit, data=join_sample([*own, *split_sample(unit.data, 4)], 4))
            if unit.key and unit.kind == "video"
            else unit
            for unit in units
        ]
        assert sets_sent(form, "h264", changed) == expected


def test_metadata_come_once_a_join(played: dict[str, list[Unit]]) -> None:
    units = played["h264"]
    joins = sum(unit.track is not None for unit in units if unit.kind == "video")
    lane = SharedMuxer(RtmpPacker(), Tracks())
    blocks = [block for unit in units for block in lane.feed([unit])]
    told = [message for message in messages_of(blocks) if message.kind == DATA]
    assert joins == 2
    assert len(told) == joins
