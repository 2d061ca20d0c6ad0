"""Playout of local files, and what a player gets of it: units are recorded, their times checked, decoded by PyAV."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import tempfile
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Event

import av
import numpy as np
import numpy.typing as npt

from services.restreamer.model import FLICKS, Media, SourceError, TargetSpec, Track, Unit
from services.restreamer.playout import Ended, FileStarted, Playout, Report, Warned
from services.restreamer.playout.player import Settings
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.containers.sniff import Container, sniff
from services.restreamer.sources.origins.files import LocalFile
from shared.messages.restreams import Item, Range, RestreamSpec, Source, Target, TargetStatus, Watermark
from shared.runtime.clock import SystemClock
from tests.support.framecode import AUDIO_RATE, HEIGHT, WIDTH, Sound, beeps, ffmpeg, paint, read_number
from tests.support.sources import ready
from tests.support.waiting import wait_until as until

TARGET = TargetSpec("0" * 16, "rtmp://example.com/live/key", "rtmp://example.com/live/***")
CODECS = {"h264": ("libx264", "superfast"), "hevc": ("libx265", "ultrafast")}


@dataclass(frozen=True)
class Clip:
    """A file to make: numbered pictures from `first` on, beeps on whole seconds (or a tone)."""

    frames: int = 60
    first: int = 0
    rate: Fraction = Fraction(30)
    codec: str = "h264"
    bframes: int = 2
    gop: int = 30
    size: tuple[int, int] = (WIDTH, HEIGHT)
    audio: str | None = "aac"
    audio_rate: int = AUDIO_RATE
    channels: int = 1
    tone: int = 0
    suffix: str = ".mp4"
    options: tuple[str, ...] = ()


def make(clip: Clip, path: Path) -> Path:
    """Encode a file with a real ffmpeg; each clip is encoded only once."""
    out = path.with_suffix(clip.suffix)
    if clip.suffix == ".m3u8":  # not one file alone
        return _encode(clip, out)
    out.write_bytes(_encoded(clip))
    return out


@functools.lru_cache(maxsize=64)
def _encoded(clip: Clip) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return _encode(clip, Path(folder) / f"file{clip.suffix}").read_bytes()


def _encode(clip: Clip, out: Path) -> Path:
    seconds = clip.frames / clip.rate
    command = [ffmpeg(), "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{WIDTH}x{HEIGHT}"]
    command += ["-r", str(clip.rate), "-i", "-"]
    if clip.audio:
        with wave.open(str(out.with_suffix(".wav")), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(AUDIO_RATE)
            file.writeframes((tone(clip.tone, seconds) if clip.tone else beeps(seconds)).tobytes())
        command += ["-i", str(out.with_suffix(".wav")), "-c:a", clip.audio]
        command += ["-ar", str(clip.audio_rate), "-ac", str(clip.channels), "-b:a", "96k"]
    command += video_options(clip)
    if clip.size != (WIDTH, HEIGHT):
        command += ["-vf", f"scale={clip.size[0]}:{clip.size[1]}:flags=neighbor"]
    command += [*clip.options, str(out)]
    pictures = b"".join(paint(clip.first + number).tobytes() for number in range(clip.frames))
    subprocess.run(command, input=pictures, check=True, timeout=120)
    return out


def video_options(clip: Clip) -> list[str]:
    common = ["-g", str(clip.gop), "-pix_fmt", "yuv420p"]
    if clip.codec == "h264":
        settings = f"keyint={clip.gop}:min-keyint={clip.gop}:scenecut=0:bframes={clip.bframes}"
        return ["-c:v", "libx264", "-preset", "superfast", "-x264-params", settings, *common]
    if clip.codec == "hevc":
        settings = f"keyint={clip.gop}:min-keyint={clip.gop}:scenecut=0:bframes={clip.bframes}:log-level=none"
        return ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", settings, "-tag:v", "hvc1", *common]
    return ["-c:v", clip.codec, *common]


def tone(hertz: int, seconds: Fraction) -> Sound:
    """Return a sine of that length."""
    at = np.arange(int(seconds * AUDIO_RATE))
    return (0.5 * 32767 * np.sin(2 * np.pi * hertz * at / AUDIO_RATE)).astype(np.int16)


def opened(path: Path | str) -> tuple[LocalFile, Container]:
    """Open a file, and detect its container."""
    file = LocalFile(os.open(path, os.O_RDONLY))
    return file, sniff(file.head())


class Shelf:
    """A library of local files, by path. A path in `broken` raises its error each time it is opened."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.broken: dict[str, str] = {}
        self.pictures: dict[str, npt.NDArray[np.uint8]] = {}
        self.lives: dict[str, Callable[[Event], Media]] = {}

    def open(self, source: Source, stop: Event) -> Media:
        self.opened.append(source.place)
        if source.place in self.lives:
            return self.lives[source.place](stop)
        if source.place in self.broken:
            raise SourceError(self.broken[source.place])
        try:
            return FileMedia(*opened(source.place))
        except OSError as error:
            raise SourceError("there is no such file") from error

    def picture(self, source: Source, stop: Event) -> Still:
        return Still(self.pictures[source.place])


@dataclass(frozen=True, eq=False)
class Still:
    pixels: npt.NDArray[np.uint8]


class Recorder:
    """Outputs that keep what they get, and when."""

    def __init__(self) -> None:
        self.units: list[Unit] = []
        self.given_ns: list[int] = []
        self.targets: tuple[TargetSpec, ...] = ()
        self.closed = False
        self.ticks = 0
        self.state = "live"

    def prepare(self, units: Sequence[Unit]) -> list[Unit]:
        return list(units)

    def feed(self, units: Sequence[Unit], ready: object | None = None) -> None:
        assert ready is None or ready == units, "what was prepared is sent with other units"
        now = SystemClock().monotonic_ns()
        self.units += units
        self.given_ns += [now] * len(units)

    def tick(self) -> None:
        self.ticks += 1

    def set_targets(self, targets: Sequence[TargetSpec]) -> None:
        self.targets = tuple(targets)

    def states(self) -> tuple[TargetStatus, ...]:
        return tuple(
            TargetStatus(target=t.target, shown=t.shown, state=self.state, since_ms=0) for t in self.targets
        )  # fmt: skip

    def close(self) -> None:
        self.closed = True


class FastClock:
    """Runs `speed` times as fast as the machine's clock, so that a playout takes less time; stands still in `held`."""

    def __init__(self, speed: int = 1) -> None:
        self.speed = speed
        self._clock = SystemClock()
        self._began = self._then = self._clock.monotonic_ns()
        self._held: int | None = None

    def now_ms(self) -> int:
        return self._clock.now_ms() + (self.monotonic_ns() - self._clock.monotonic_ns()) // 1_000_000

    def monotonic_ns(self) -> int:
        held, began, then = self._held, self._began, self._then
        return began + (self._clock.monotonic_ns() - then) * self.speed if held is None else held

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Stop time, so that the block takes no time for the playout."""
        self._held = self.monotonic_ns()
        try:
            yield
        finally:
            self._began, self._then = self._held, self._clock.monotonic_ns()
            self._held = None


def item(
    path: Path | str, *ranges: tuple[Fraction | float, Fraction | float | None], mark: Watermark | None = None
) -> Item:
    source = Source(kind="library", place=str(path), shown=Path(path).name)
    parts = tuple(Range(start=flicks(start), end=None if end is None else flicks(end)) for start, end in ranges)
    return Item(source=source, ranges=parts, watermark=mark)


def flicks(seconds: Fraction | float) -> int:
    return round(Fraction(seconds) * FLICKS)


def spec(*items: Item, loops: int = 1, **more: object) -> RestreamSpec:
    target = Target(target="0" * 16, url="sealed", shown="rtmp://example.com")
    return RestreamSpec(items=items, targets=(target,), loops=loops, **more)


@dataclass
class Stage:
    """One playout with a recorder as its outputs."""

    shelf: Shelf = field(default_factory=Shelf)
    out: Recorder = field(default_factory=Recorder)
    reports: list[Report] = field(default_factory=list)
    speed: int = 8
    settings: Settings | None = None

    def __post_init__(self) -> None:
        ready()
        self.clock = FastClock(self.speed)
        self.player = Playout(self.shelf, self.out, self.reports.append, self.clock, self.settings)

    def play(self, what: RestreamSpec, seconds: float = 60, **more: object) -> None:
        """Play to the end."""
        self.player.start(what, (TARGET,), **more)
        self.wait_for_end(seconds)

    def wait_for_end(self, seconds: float = 60) -> None:
        until(lambda: any(isinstance(report, Ended) for report in self.reports), seconds)
        assert self.player.join(10)

    def wait_for(self, number: int, seconds: float = 30) -> None:
        """Wait until `number` pictures were sent."""
        until(lambda: len(self.pictures) >= number, seconds)

    def stop(self) -> None:
        self.player.stop()
        assert self.player.join(10)

    @property
    def pictures(self) -> list[Unit]:
        return [unit for unit in list(self.out.units) if unit.kind == "video"]

    @property
    def sounds(self) -> list[Unit]:
        return [unit for unit in list(self.out.units) if unit.kind == "audio"]

    def files(self) -> list[FileStarted]:
        return [report for report in self.reports if isinstance(report, FileStarted)]

    def warnings(self) -> list[str]:
        return [report.text for report in self.reports if isinstance(report, Warned)]

    def numbers(self) -> list[int]:
        """Return the numbers of all pictures, in order of presentation."""
        return [read_number(grey) for _, grey in frames(self.pictures)]

    def check(self) -> None:
        """Check what holds for every output: order, times, configuration, sound without a gap, sound with picture."""
        check_units(self.out.units)


def check_units(units: Sequence[Unit]) -> None:
    assert units
    assert [unit.dts for unit in units] == sorted(unit.dts for unit in units)
    pictures = [unit for unit in units if unit.kind == "video"]
    sounds = [unit for unit in units if unit.kind == "audio"]
    assert all(before.dts < after.dts for before, after in pairwise(pictures))
    assert all(0 <= unit.dts <= unit.pts for unit in units)
    assert len({unit.pts for unit in pictures}) == len(pictures)
    assert pictures[0].key
    assert pictures[0].track
    assert sounds[0].track
    assert all(unit.key for unit in pictures if unit.track)
    assert pictures[0].pts == pictures[0].dts + FLICKS * 160 // 1000
    for before, after in pairwise(sounds):
        assert after.pts == before.pts + before.duration
    end = max(unit.pts + unit.duration for unit in pictures)
    assert abs(sounds[-1].pts + sounds[-1].duration - end) <= 2 * sounds[-1].duration
    shown = -1
    waiting = sorted(unit.pts for unit in pictures)
    for index, unit in enumerate(pictures):
        shown = max(shown, unit.pts)
        assert unit.clean == (shown == waiting[index])


def steps(units: Sequence[Unit]) -> set[int]:
    """Return the distances between presentation times."""
    times = sorted(unit.pts for unit in units)
    return {after - before for before, after in pairwise(times)}


def frames(units: Sequence[Unit]) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    """Decode pictures like a player that makes a new decoder for each new configuration: (time, grey levels)."""
    found: list[tuple[int, npt.NDArray[np.uint8]]] = []
    decoder: av.VideoCodecContext | None = None
    known: Track | None = None
    for unit in units:
        if unit.track is not None and unit.track != known:
            if decoder is not None:
                found += _shown(decoder.decode(None))
            decoder, known = _decoder(unit.track), unit.track
        assert decoder is not None
        packet = av.Packet(unit.data)
        packet.pts, packet.dts = unit.pts, unit.dts
        found += _shown(decoder.decode(packet))
    if decoder is not None:
        found += _shown(decoder.decode(None))
    assert [at for at, _ in found] == sorted(unit.pts for unit in units)
    return found


def _decoder(track: Track) -> av.VideoCodecContext:
    decoder = av.CodecContext.create(track.codec, "r")
    assert isinstance(decoder, av.VideoCodecContext)
    if track.config:
        decoder.extradata = track.config
    decoder.options = {"err_detect": "explode"}
    return decoder


def _shown(shown: Sequence[av.VideoFrame]) -> list[tuple[int, npt.NDArray[np.uint8]]]:
    out = []
    for frame in shown:
        assert not frame.is_corrupt
        assert frame.pts is not None
        small = (
            frame.reformat(WIDTH, HEIGHT, "gray", interpolation="AREA")
            if frame.width != WIDTH
            else frame.reformat(format="gray")
        )
        out.append((frame.pts, small.to_ndarray()))
    return out


def sound_of(units: Sequence[Unit]) -> tuple[int, Sound]:
    """Decode all sound; return the output time of its first sample, and mono samples at 48 kHz."""
    decoder: av.AudioCodecContext | None = None
    known: Track | None = None
    parts: list[npt.NDArray[np.int16]] = []
    for unit in units:
        if unit.track is not None and unit.track != known:
            context = av.CodecContext.create(unit.track.codec, "r")
            assert isinstance(context, av.AudioCodecContext)
            if unit.track.config:
                context.extradata = unit.track.config
            context.sample_rate = unit.track.sample_rate
            decoder, known = context, unit.track
            resampler = av.AudioResampler("s16", "mono", AUDIO_RATE)
        assert decoder is not None
        samples = [
            part.to_ndarray()[0] for frame in decoder.decode(av.Packet(unit.data)) for part in _mono(resampler, frame)
        ]
        if not parts:  # samples that a decoder omits at its start
            missing = unit.duration * AUDIO_RATE // FLICKS - sum(map(len, samples))
            parts.append(np.zeros(max(missing, 0), np.int16))
        parts += samples
    return units[0].pts, np.concatenate(parts)


def _mono(resampler: av.AudioResampler, frame: av.AudioFrame) -> list[av.AudioFrame]:
    frame.pts = None
    return resampler.resample(frame)
