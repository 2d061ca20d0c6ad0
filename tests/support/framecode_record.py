"""Recordings of numbered pictures and beeps, made by real encoders and cut as by a recorder."""

from __future__ import annotations

import functools
import math
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av

from services.clipper.cutting import CutSource, Run, Segment
from shared.media.bitstream.ac3 import read_ac3
from shared.media.bitstream.mpeg_audio import read_mpeg_audio
from shared.media.bitstream.picture_form import PictureForm
from shared.media.bitstream.vp9 import build_vpcc
from shared.media.mp4.entries import ac3_config, av1_config, mpeg_config, vp9_config
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.mp4.init import aac_config, build_init, opus_config, video_config
from shared.media.tracks import TrackConfig
from tests.support.captions import captioned
from tests.support.framecode import AUDIO_RATE, HEIGHT, WIDTH, Seen, beeps, ffmpeg, paint, play

ENCODERS = {"opus": "libopus", "mp3": "libmp3lame"}
FRAME_OPTIONS = {
    "av1": ["-c:v", "libsvtav1", "-preset", "10", "-crf", "30", "-svtav1-params", "scd=0:lp=2"],
    "aom": ["-c:v", "libaom-av1", "-crf", "30"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "good", "-cpu-used", "5", "-b:v", "600k", "-lag-in-frames", "16"],
}


@dataclass(frozen=True)
class Spec:
    """What to record; `stamps`: "ms" (rounded as RTMP does), "90k", or "vfr" for a varying rate."""

    codec: str = "h264"
    rate: Fraction = Fraction(30)
    bframes: int = 2
    gop: int = 60
    seconds: Fraction = Fraction(6)
    stamps: str = "ms"
    audio: str | None = "aac"
    pixels: str = "yuv420p"
    video: bool = True
    encoder: str = ""
    options: tuple[str, ...] = ()
    first_number: int = 0
    silent: tuple[Fraction, Fraction] | None = None  # a stretch in which no sound is received
    longest: Fraction | None = None  # a segment ends after so many seconds, keyframe or not
    lost: tuple[Fraction, Fraction] | None = None  # no pictures are received, and none to the next keyframe
    held: tuple[Fraction, Fraction] | None = None  # no pictures are sent: the one before lasts as long (no B-frames)
    captions: str = ""  # "own": each frame has captions in a unit of their own; "shared": beside another message

    @property
    def frames(self) -> int:
        return int(self.seconds * self.rate)


@dataclass(frozen=True)
class Recording:
    """Segments as a recorder writes them; frame n (from 0) is shown at `shown[n]` seconds of stream time.

    At a steady rate this is the exact time, not the rounded one of the timestamp.
    """

    spec: Spec
    init: Path
    segments: tuple[Segment, ...]
    shown: tuple[Fraction, ...]

    def run(self, origin: Fraction = Fraction(0)) -> Run:
        return Run(self.init, self.segments, origin, "a" * 32)

    def source(self) -> CutSource:
        return CutSource((self.run(),))

    def time(self, frame: int) -> Fraction:
        """Return when a frame is shown; for the frame after the last, the end."""
        return self.shown[frame] if frame < len(self.shown) else self.shown[-1] + 1 / self.spec.rate


def encode(spec: Spec, out: Path) -> None:
    """Encode the pictures and beeps of `spec` with a real ffmpeg, in the format of the file's name, and only once."""
    if out.suffix == ".m3u8":  # not one file alone
        _encode(spec, out)
    else:
        out.write_bytes(_encoded(spec, out.suffix))


@functools.lru_cache(maxsize=64)
def _encoded(spec: Spec, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / f"file{suffix}"
        _encode(spec, out)
        return out.read_bytes()


def _encode(spec: Spec, out: Path) -> None:
    sound = out.with_suffix(".wav")
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(AUDIO_RATE)
        file.writeframes(beeps(spec.seconds + Fraction(1, 4)).tobytes())  # pictures are delayed against sound
    command = [ffmpeg(), "-v", "error", "-y"]
    if spec.video:
        command += ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(spec.rate), "-i", "-"]
    if spec.audio:
        command += ["-i", str(sound), "-c:a", ENCODERS.get(spec.audio, spec.audio), "-b:a", "96k"]
    if not spec.audio:
        command += ["-an"]
    if spec.video:
        command += ["-pix_fmt", spec.pixels, "-r", str(spec.rate), *_video_options(spec)]
    if out.suffix == ".flv":  # which has no such tag
        command = [word for word in command if word not in ("-tag:v", "hvc1")]
    frames = b"".join(paint(spec.first_number + n).tobytes() for n in range(spec.frames)) if spec.video else b""
    subprocess.run([*command, *spec.options, str(out)], input=frames, check=True, timeout=120)


def _video_options(spec: Spec) -> list[str]:
    if spec.codec in FRAME_OPTIONS:
        return [*FRAME_OPTIONS[spec.codec], "-g", str(spec.gop), "-keyint_min", str(spec.gop), *spec.encoder.split()]
    common = f"keyint={spec.gop}:min-keyint={spec.gop}:scenecut=0:bframes={spec.bframes}:{spec.encoder}".rstrip(":")
    if spec.codec == "h264":
        return ["-c:v", "libx264", "-preset", "superfast", "-crf", "26", "-x264-params", common]
    common += ":log-level=error:pools=2" + ("" if "open-gop" in spec.encoder else ":open-gop=0")
    return ["-c:v", "libx265", "-preset", "ultrafast", "-crf", "26", "-tag:v", "hvc1", "-x265-params", common]


def record(spec: Spec, folder: Path) -> Recording:
    """Encode, then cut into fragmented segments of about 2 s with parts of half a second, as a recorder does."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = folder / "encoded.mp4"
    encode(spec, encoded)
    with av.open(str(encoded)) as container:
        configs, samples, delay = _samples(spec, container)
    init = folder / "init-0.mp4"
    init.write_bytes(build_init(list(configs.values())))
    lead = 1 if spec.video else 2
    segments = []
    writer = FragmentWriter(list(configs.values()))
    bounds = _bounds(samples[lead], configs[lead].timescale, spec.longest, sounds=2 in samples)
    for number, (start, end) in enumerate(bounds):
        path = folder / f"{number:08d}.m4s"
        until = bounds[number + 1][0] if number + 1 < len(bounds) else None
        path.write_bytes(b"".join(_parts(writer, configs, samples, configs[lead].timescale, start, until)))
        segments.append(Segment(path, start, end - start))
    if spec.stamps == "vfr":
        shown = sorted(Fraction(sample.pts, 90000) for sample in samples[1])
    else:
        shown = [delay + n / spec.rate for n in range(spec.frames)]
    return Recording(spec, init, tuple(segments), tuple(shown))


def _samples(
    spec: Spec, container: av.container.InputContainer
) -> tuple[dict[int, TrackConfig], dict[int, list[Sample]], Fraction]:
    """Read the encoder's packets with a recorder's time stamps: from 0 at the first video packet's decode time."""
    configs: dict[int, TrackConfig] = {}
    raw: dict[int, list[tuple[Fraction, Fraction, bool, bytes]]] = {}
    for stream in container.streams:
        extradata = bytes(stream.codec_context.extradata or b"")
        if stream.type == "video":
            configs[1] = _video(spec.codec, extradata, stream.codec_context)
            raw[1] = []
        else:
            if spec.audio in ("aac", "opus"):
                configs[2] = aac_config(extradata) if spec.audio == "aac" else opus_config(extradata)
            raw[2] = []
    for packet in container.demux():
        if packet.dts is None or packet.pts is None:
            continue
        base = packet.time_base
        row = (packet.dts * base, packet.pts * base, packet.is_keyframe, bytes(packet))
        raw[1 if packet.stream.type == "video" else 2].append(row)
    if raw.get(2) and 2 not in configs:
        configs[2] = _self_described(raw[2][0][-1])
    lead = raw[1] if spec.video else raw[2]
    zero = lead[0][0]
    delay = lead[0][1] - zero
    samples = {track: _stamped(spec, rows, configs[track], zero) for track, rows in raw.items()}
    if 1 in samples and spec.captions:
        samples[1] = _captioned(spec, samples[1])
    if 1 in samples:
        samples[1] = _received(spec, samples[1])
    return configs, samples, delay


def _self_described(packet: bytes) -> TrackConfig:
    """Describe MPEG audio or AC-3 from a packet."""
    frame, mpeg = read_ac3(packet), read_mpeg_audio(packet)
    if frame is not None:
        return ac3_config([frame])
    assert mpeg is not None
    return mpeg_config(mpeg)


def _video(codec: str, extradata: bytes, context: av.VideoCodecContext) -> TrackConfig:
    if codec in ("av1", "aom"):
        return av1_config(extradata, 90000)
    if codec == "vp9":
        deep = 2 if context.pix_fmt == "yuv420p10le" else 0
        form = PictureForm(context.width, context.height, deep, 20, depth=10 if deep else 8)
        return vp9_config(build_vpcc(form), (context.width, context.height), 90000)
    return video_config("h264" if codec == "h264" else "hevc", extradata, 90000)


def _stamped(
    spec: Spec, rows: list[tuple[Fraction, Fraction, bool, bytes]], config: TrackConfig, zero: Fraction
) -> list[Sample]:
    scale = config.timescale

    def ticks(moment: Fraction) -> int:
        if spec.stamps == "vfr" and config.kind == "video":
            moment += Fraction(round(8000 * math.sin(float(7 * (moment - zero)))), 1_000_000)
        if spec.stamps == "ms" and config.kind == "video":
            return round((moment - zero) * 1000) * (scale // 1000)
        return round((moment - zero) * scale)

    times = [ticks(dts) for dts, _, _, _ in rows]
    steps = [after - before for before, after in pairwise(times)]
    last = (steps or [1])[-1]
    return [
        Sample(time, ticks(pts), step, sync, payload)
        for time, step, (_, pts, sync, payload) in zip(times, [*steps, last], rows, strict=True)
        if time >= 0 and not (config.kind == "audio" and _lost(spec, time))
    ]


def _captioned(spec: Spec, samples: list[Sample]) -> list[Sample]:
    order = {pts: number for number, pts in enumerate(sorted(sample.pts for sample in samples))}
    shared = spec.captions == "shared"
    return [
        s._replace(payload=captioned(spec.codec, s.payload, order[s.pts], shared=shared)) for s in samples
    ]  # fmt: skip


def _received(spec: Spec, samples: list[Sample]) -> list[Sample]:
    """Leave out pictures that were lost or never sent, as a recorder does."""
    found: list[Sample] = []
    waiting = False
    for sample in samples:
        time = Fraction(sample.dts, 90000)
        if spec.held and spec.held[0] <= time < spec.held[1]:
            found[-1] = found[-1]._replace(duration=sample.dts + sample.duration - found[-1].dts)
            continue
        waiting = bool(spec.lost and spec.lost[0] <= time < spec.lost[1]) or (waiting and not sample.sync)
        if not waiting:
            found.append(sample)
    return found


def _lost(spec: Spec, time: int) -> bool:
    return spec.silent is not None and spec.silent[0] <= Fraction(time, AUDIO_RATE) < spec.silent[1]


def _bounds(samples: list[Sample], scale: int, longest: Fraction | None, *, sounds: bool) -> list[tuple[int, int]]:
    """Cut at sync samples that are 2 s or more (less half a frame) after the last cut, at others after `longest`.

    Cut after lost pictures too: the segment before ends with its pictures, or with its sound if that goes on for 2 s.
    """
    starts: list[int] = []
    ends: list[int] = []
    end = samples[0].dts
    for sample in samples:
        since = sample.dts - starts[-1] if starts else None
        hole = sample.dts - end > scale // 10
        due = since is None or (sample.sync and (hole or since >= 2 * scale - scale // 50))
        if due or (longest is not None and since is not None and since >= longest * scale):
            starts.append(sample.dts)
            ends.append(sample.dts if sounds and sample.dts - end > 2 * scale else end)
        end = sample.dts + sample.duration
    return list(zip(starts, [*ends[1:], end], strict=True))


def _parts(
    writer: FragmentWriter, configs: dict[int, TrackConfig], samples: dict[int, list[Sample]], scale: int,
    start: int, end: int | None,
) -> Iterator[bytes]:  # fmt: skip
    """Write what is decoded from `start` to `end` (None: all the rest), half a second at a time."""
    rows = {
        track: [s for s in run if s.dts * scale >= start * configs[track].timescale] for track, run in samples.items()
    }
    at = start
    while any(rows.values()) and (end is None or at < end):
        at = at + scale // 2 if end is None else min(at + scale // 2, end)
        part = {track: [s for s in run if s.dts * scale < at * configs[track].timescale] for track, run in rows.items()}
        rows = {track: run[len(part[track]) :] for track, run in rows.items()}
        runs = {track: _unbroken(run) for track, run in part.items()}
        for number in range(max(map(len, runs.values()))):
            yield writer.part({track: found[number] for track, found in runs.items() if number < len(found)})


def _unbroken(samples: list[Sample]) -> list[list[Sample]]:
    """Split samples where one does not start at the end of the one before: a part has no gaps."""
    runs: list[list[Sample]] = []
    for sample in samples:
        if not runs or sample.dts != runs[-1][-1].dts + runs[-1][-1].duration:
            runs.append([])
        runs[-1].append(sample)
    return runs


def play_recording(recording: Recording, folder: Path) -> Seen:
    """Decode the recording's own segments with ffmpeg."""
    whole = folder / "whole.mp4"
    whole.write_bytes(recording.init.read_bytes() + b"".join(s.path.read_bytes() for s in recording.segments))
    return play(whole, audio=False)
