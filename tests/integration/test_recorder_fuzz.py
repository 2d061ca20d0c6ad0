"""Damaged streams of real encoders: whatever is broken is damage, counted, and never a crash."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from services.ingester.recorder.flv import FlvDemuxer
from services.ingester.recorder.model import MAX_OFFSET, NotMedia
from services.ingester.recorder.mpegts import TsDemuxer
from tests.support import fields
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.ts_layouts import LAYOUTS
from tests.support.ts_mux import coded, mux

X264 = ("-c:v", "libx264", "-preset", "veryfast", "-g", "12", "-bf", "2")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-g", "12")
MADE = {
    "h264.ts": (*X264, "-c:a", "aac"),
    "hevc.ts": (*X265, "-c:a", "libopus"),
    "program.ts": (*X264, "-af", "pan=2.1|c0=c0|c1=c0|c2=c0", "-c:a", "aac"),
    "low.ts": (*X264, "-c:a", "aac", "-ar", "24000"),
    "h264.flv": (*X264, "-c:a", "aac"),
    "hevc.flv": (*X265, "-c:a", "libopus"),
    "program.flv": (*X264, "-af", "pan=2.1|c0=c0|c1=c0|c2=c0", "-c:a", "aac"),
    "low.flv": (*X264, "-c:a", "aac", "-ar", "24000", "-ac", "1"),
}
LAID = ("chunks-300", "ten-in-one", "nal-a-packet", "every-tenth-stamped")
RUNS = 12
Dice = random.Random


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("fuzz")

    def make(name: str, *coding: str) -> Path:
        picture, sine = "testsrc2=size=96x64:rate=25:duration=1.5", "sine=sample_rate=48000:duration=1.5"
        media.run("-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sine, *coding, folder / name)
        return folder / name

    found = {name: make(name, *coding).read_bytes() for name, coding in MADE.items()}
    for codec, coding in (("h264", X264), ("hevc", X265)):
        units = coded(make(f"{codec}.mp4", *coding, "-an"), "h264" if codec == "h264" else "hevc", delimiters=False)
        for name in LAID:
            found[f"{codec}-{name}.ts"] = bytes(mux("h264" if codec == "h264" else "hevc", LAYOUTS[name](units)))
    pairs = fields.frames(12)
    found["fields.ts"] = bytes(mux("h264", LAYOUTS["one"]([unit for pair in pairs for unit in pair])))
    return found


def anywhere(data: bytes, dice: Dice) -> bytes:
    """Change bytes anywhere, and take some out."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 5, 50, 300))):
        out[dice.randrange(len(out))] = dice.choice((0, 255, dice.randrange(256)))
    if dice.random() < 0.3:
        at = dice.randrange(len(out))
        del out[at : at + dice.randrange(1, 3000)]
    return bytes(out)


def in_heads(data: bytes, dice: Dice) -> bytes:
    """Change what headers lie in: the first bytes of TS packets, or of FLV tags' bodies, configurations above all."""
    if data[:3] != b"FLV":
        out = bytearray(data)
        for at in range(0, len(out), 188):
            if dice.random() < 0.05:
                for _ in range(dice.choice((1, 1, 3))):
                    out[at + dice.randrange(4, 60)] = dice.choice((0, 1, 255, dice.randrange(256)))
        return bytes(out)
    tags = []
    for tag in flv.split(data):
        body = bytearray(tag.body)
        if body and dice.random() < (0.5 if tag.is_config else 0.05):
            for _ in range(dice.choice((1, 2, 5))):
                body[dice.randrange(min(len(body), 40))] = dice.choice((0, 255, dice.randrange(256)))
            body = body[: dice.randrange(len(body) + 1)] if dice.random() < 0.3 else body
        tags.append(tag._replace(body=bytes(body)))
    return flv.join(tags)


@pytest.mark.parametrize("spoil", [anywhere, in_heads], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "name", [*MADE, *(f"{codec}-{lay}.ts" for codec in ("h264", "hevc") for lay in LAID), "fields.ts"]
)
def test_damage_never_crashes(streams: dict[str, bytes], name: str, spoil: Callable[[bytes, Dice], bytes]) -> None:
    dice = random.Random(f"{name} {spoil.__name__}")
    for _ in range(RUNS):
        data = spoil(streams[name], dice)
        demuxer = TsDemuxer() if name.endswith("ts") else FlvDemuxer()
        frames = []
        with contextlib.suppress(NotMedia):
            at = 0
            while at < len(data):
                size = dice.choice((188, 1316, 5000, 100_000))
                frames += demuxer.feed(data[at : at + size])
                at += size
        frames += demuxer.flush()
        assert demuxer.damaged >= 0
        for frame in frames:
            assert frame.payload
            assert abs(frame.offset) <= MAX_OFFSET
            assert frame.config.timescale > 0
            assert frame.duration >= 0
        assert len(demuxer.unsupported) < 50
