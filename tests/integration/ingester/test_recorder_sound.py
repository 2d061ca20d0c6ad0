"""AAC of every layout, and HE-AAC that does not say so: described as it is, decoded by a real decoder."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from services.gateway.delivery.codecs import codecs_of
from shared.media.mp4.aac import read_aac
from shared.media.mp4.entries import aac_config, codec_record
from shared.media.mp4.fragments import FragmentWriter, Sample, read_fragments
from shared.media.mp4.init import build_init, parse_init
from shared.media.seams.silence import silent_packet
from tests.support import media_streams as media
from tests.support.media_recording import Recorded, pieces
from tests.unit.shared.media.test_mp4_aac import PROGRAMS

CONTAINER = {"flv": "flv", "ts": "mpegts"}
LAYOUTS = {
    "mono": 1,
    "stereo": 2,
    "3.0": 3,
    "4.0": 4,
    "5.0": 5,
    "5.1": 6,
    **{name: n for name, (n, _) in PROGRAMS.items()},
}


def heard(path: Path) -> tuple[int, int, npt.NDArray[np.int16]]:
    """Decode with the real ffmpeg: rate, channels, and all channels' samples."""
    with av.open(str(path)) as container:
        context = container.streams.audio[0].codec_context
        rate, channels = context.sample_rate, len(context.layout.channels)
    data = media.run("-v", "error", "-xerror", "-i", path, "-map", "0:a", "-f", "s16le", "-")
    return rate, channels, np.frombuffer(data, np.int16).reshape(-1, channels)


@pytest.mark.parametrize(
    "config",
    ["1188", "1190", "1198", "11a0", "11a8", "11b0", "11b8", "1310", "2b118800", *(c for _, c in PROGRAMS.values())],
)
def test_silence_is_heard_in_every_channel(config: str, tmp_path: Path) -> None:
    record = bytes.fromhex(config)
    meaning, track = read_aac(record), aac_config(record)
    payload = silent_packet(track, meaning.frame)
    assert payload is not None
    samples = [Sample(n * meaning.frame, n * meaning.frame, meaning.frame, True, payload) for n in range(5)]
    path = tmp_path / "silence.mp4"
    path.write_bytes(build_init([track]) + FragmentWriter([track]).part({track.track_id: samples}))
    rate, channels, sound = heard(path)
    assert (rate, channels) == (meaning.rate, meaning.channels)
    assert len(sound) == 5 * meaning.frame
    assert not sound.any()


@pytest.mark.parametrize("suffix", ["flv", "ts"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_out(layout: str, suffix: str, tmp_path: Path) -> None:
    channels = LAYOUTS[layout]
    mix = "|".join(f"c{n}={(n + 1) / 10}*c0" for n in range(channels))
    source = tmp_path / f"source.{suffix}"
    sine, picture = "sine=frequency=440:sample_rate=48000:duration=3", "color=size=64x64:rate=25:duration=3"
    media.run("-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sine, "-c:v", "libx264", "-g", "25",
              "-bf", "0", "-af", f"pan={layout}|{mix}", "-c:a", "aac", source)  # fmt: skip
    recorded = Recorded(tmp_path / "out")
    summary = recorded.run(CONTAINER[suffix], pieces(source.read_bytes(), 1316))
    assert (summary.damaged, summary.unsupported) == (0, frozenset())
    made, wanted = heard(recorded.joined()), heard(source)
    assert made[:2] == wanted[:2] == (48000, channels)
    assert media.warnings(recorded.joined()) == ""
    track = parse_init(recorded.init().read_bytes())[1]
    assert (track.channels, read_aac(codec_record(track)).channels) == (channels, channels)
    level = np.abs(made[2][24_000:72_000].astype(np.int32)).max(axis=0)
    assert np.allclose(level, np.abs(wanted[2][24_000:72_000].astype(np.int32)).max(axis=0), atol=40)


def insert_sbr(frame: bytes, content: bytes) -> bytes:
    """Put a fill element with SBR data before a frame's end."""
    value = int.from_bytes(frame, "big")
    after = (value & -value).bit_length() - 1
    value >>= after + 3
    count = len(frame) * 8 - after - 3
    size = len(content)
    head, bits = (6 << 4 | size, 7) if size < 15 else (6 << 12 | 15 << 8 | size - 14, 15)
    value, count = value << bits | head, count + bits
    value, count = value << 8 * size | int.from_bytes(content, "big"), count + 8 * size
    value, count = value << 3 | 7, count + 3
    pad = -count % 8
    return (value << pad).to_bytes((count + pad) // 8, "big")


SBR = bytes((0xD8, *b"upper half", 0x12, 0x00))  # EXT_SBR_DATA, and no PS at its end
WITH_PS = SBR[:-1] + bytes((0b1_0011_10_0, 0, 0, 0))  # bs_extended_data of three bytes, with bs_extension_id 2


def low_rate(folder: Path, suffix: str, channels: int, extension: bytes | None) -> Path:
    """Make a stream with AAC of 24 kHz whose frames carry an extension that the container does not tell of."""
    aac = folder / "sound.aac"
    sine = "sine=frequency=440:sample_rate=24000:duration=4"
    media.run("-v", "error", "-f", "lavfi", "-i", sine, "-ac", str(channels), "-c:a", "aac", aac)
    data, out = aac.read_bytes(), b""
    while data:
        size = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
        frame = data[7:size] if extension is None else insert_sbr(data[7:size], extension)
        length = len(frame) + 7
        out += data[:3] + bytes((data[3] & 0xFC | length >> 11, length >> 3 & 255, (length & 7) << 5 | 31, 0xFC))
        out += frame
        data = data[size:]
    aac.write_bytes(out)
    path = folder / f"source.{suffix}"
    picture = "color=size=64x64:rate=25:duration=4"
    media.run("-v", "error", "-f", "lavfi", "-i", picture, "-i", aac, "-c:v", "libx264", "-g", "25", "-bf", "0", "-c:a",
              "copy", path)  # fmt: skip
    return path


@pytest.mark.parametrize("suffix", ["flv", "ts"])
@pytest.mark.parametrize(
    ("channels", "extension", "rate", "heard_channels", "named"),
    [
        (2, SBR, 48000, 2, "mp4a.40.5"),
        (1, SBR, 48000, 1, "mp4a.40.5"),
        (1, WITH_PS, 48000, 2, "mp4a.40.29"),
        (2, None, 24000, 2, "mp4a.40.2"),
        (1, None, 24000, 1, "mp4a.40.2"),
    ],
    ids=["sbr", "sbr-mono", "ps", "plain", "plain-mono"],
)
def test_he_aac_that_does_not_say_so_is_described_as_it_is(
    tmp_path: Path, suffix: str, channels: int, extension: bytes | None, rate: int, heard_channels: int, named: str
) -> None:
    source = low_rate(tmp_path, suffix, channels, extension)
    recorded = Recorded(tmp_path / "out")
    summary = recorded.run(CONTAINER[suffix], pieces(source.read_bytes(), 1316))
    assert summary.damaged == 0
    tracks = parse_init(recorded.init().read_bytes())
    assert (tracks[1].timescale, tracks[1].sample_rate, tracks[1].channels) == (rate, rate, heard_channels)
    assert codecs_of(tracks[1:]) == named
    tables = [read_fragments(s.path).tables[2] for s in recorded.segments]
    ticks = np.concatenate([t.dts for t in tables])
    assert set(np.diff(ticks).tolist()) == {1024 * rate // 24000}
    assert 3.8 < len(ticks) * 1024 / 24000 <= 4.1, "the frames that were looked at are there too"
    assert len({s.init_number for s in recorded.segments}) == 1
    with av.open(str(recorded.joined())) as container:
        assert container.streams.audio[0].codec_context.sample_rate == rate
