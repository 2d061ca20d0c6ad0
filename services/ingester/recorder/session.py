"""One session's frames, from the demuxer to the cutter: where it begins, what it holds, where segments begin."""

from __future__ import annotations

from collections import deque
from typing import Final, Literal, NamedTuple

from services.ingester.recorder.cuts import Cut, Tracks, ticks
from services.ingester.recorder.cutter import Cutter
from services.ingester.recorder.model import VIDEO_SCALE, Frame, Place, RecorderLimits, SegmentInfo, Sink
from services.ingester.recorder.timing import AudioGrid, TimeLine
from services.ingester.recorder.wall import WallClock
from shared.logging import get_logger
from shared.media.model import TrackConfig

log = get_logger()
EARLY: Final = VIDEO_SCALE // 10
"""A keyframe this much before the target ends a segment too: encoders' clocks are rounded."""
LONG_GAP: Final = 10 * VIDEO_SCALE


class Arrival(NamedTuple):
    """When bytes have come: the monotonic clock in ns, the wall clock in ms."""

    ns: int
    ms: int


class Session:
    """Takes frames as they are demuxed. Raises StoreFull and Unavailable from the disk."""

    def __init__(self, place: Place, sink: Sink, limits: RecorderLimits) -> None:
        self.segments = 0
        self.bytes = 0
        self._sink = sink
        self._limits = limits
        self._cutter = Cutter(place, self._give, limits)
        self._line = TimeLine(ticks(limits.jump))
        self._target, self._longest, self._hole = map(ticks, (limits.target, limits.longest, limits.hole))
        self._waiting: deque[tuple[Frame, Arrival]] = deque()
        self._waiting_bytes = 0
        self._tracks = Tracks(-1, None, None)
        self._audio: TrackConfig | None = None
        self._grid: AudioGrid | None = None
        self._wall: WallClock | None = None
        self._entry = 0
        self._last_video: int | None = None
        self._broken = False
        self._need_key = False

    @property
    def jumps(self) -> int:
        """Count the jumps of the encoder's clock."""
        return self._line.jumps

    def take(self, frame: Frame, arrival: Arrival, *, expects_video: bool, expects_audio: bool) -> None:
        """Take a frame; until the session has begun, frames wait for what the demuxer `expects`."""
        if self._wall is not None:
            self._route(frame, arrival)
            return
        self._waiting.append((frame, arrival))
        self._waiting_bytes += len(frame.payload)
        if self._waiting_bytes > self._limits.undecided_bytes:
            expects_video = expects_audio = False
        if (origin := self._origin(expects_video=expects_video, expects_audio=expects_audio)) is not None:
            self._begin(*origin)

    def finish(self) -> None:
        """Write and hand over everything."""
        if self._wall is None:
            origin = self._origin(expects_video=False, expects_audio=False)
            if origin is None:
                return
            self._begin(*origin)
        self._cutter.finish(self._line.typical("video"))

    def abandon(self) -> None:
        """Hand over what is on the disk after a failed write."""
        self._cutter.abandon()

    def release(self) -> None:
        """Close what is still open, after any end."""
        self._cutter.release()

    def _give(self, info: SegmentInfo) -> None:
        self.segments += 1
        self.bytes += info.bytes
        self._sink.segment(info)

    def _origin(self, *, expects_video: bool, expects_audio: bool) -> tuple[Frame, Arrival] | None:
        """Choose the frame that the session begins with, once it need not wait any longer."""
        newest, arrival = self._waiting[-1] if self._waiting else (None, None)
        if newest is None or arrival is None:
            return None
        keys = (w for w in self._waiting if w[0].config.kind == "video" and w[0].sync)
        first_key = next(keys, None)
        if first_key is None and newest.config.kind == "video":
            self._waiting.pop()  # cannot be decoded
            newest, arrival = self._waiting[-1] if self._waiting else (newest, arrival)
        sound = next((w for w in self._waiting if w[0].config.kind == "audio"), None)
        if first_key is not None:
            patience = ticks(self._limits.first_audio)
            if sound is not None or not expects_audio or _waited(first_key, newest, arrival) >= patience:
                return first_key
        elif sound is not None and (
            not expects_video or _waited(sound, newest, arrival) >= ticks(self._limits.first_video)
        ):
            return sound
        return None

    def _begin(self, first: Frame, arrival: Arrival) -> None:
        """Let tick 0 be the decoding of `first`, and go on with what has waited."""
        audio = [f for f, _ in self._waiting if f.config.kind == "audio"]
        video = first.config if first.config.kind == "video" else None
        self._audio = audio[-1].config if audio else None
        self._tracks = Tracks(0, video, self._audio)
        self._line.begin(first.dts)
        self._wall = WallClock(arrival.ms)
        self._sink.started(arrival.ms)
        self._cut(0, arrival, end=0)
        waiting, self._waiting = self._waiting, deque()
        begun = False
        for frame, came in waiting:
            begun = begun or frame is first
            if begun or (frame.config.kind == "audio" and frame.dts >= first.dts):
                self._route(frame, came)

    def _route(self, frame: Frame, arrival: Arrival) -> None:
        moment = self._line.place(frame, arrival.ns)
        self._broken = self._broken or moment.jumped
        if frame.config.kind == "video":
            self._video(frame, moment.dts, arrival)
        else:
            self._sound(frame, moment.dts, arrival)

    def _video(self, frame: Frame, dts: int, arrival: Arrival) -> None:
        fresh = frame.config is not self._tracks.video and frame.config != self._tracks.video
        pts = dts + frame.offset
        gap = self._gap(dts)
        if gap == "long" and not frame.sync:
            self._need_key = True
        if not frame.sync and (fresh or self._need_key):
            return
        if min(pts, dts) < 0:
            return
        if frame.sync and (fresh or self._broken or self._need_key or gap or self._is_due(dts)):
            if fresh or self._need_key or gap or self._last_video is None:
                self._entry = pts
            self._enter(frame, dts, arrival, hole=gap is not None, fresh=fresh)
        elif pts < self._entry:
            return  # shown before the keyframe that decoding began with: what it refers to is not there
        elif self._is_overdue(dts):
            self._cut(dts, arrival, end=dts)
        self._last_video = dts
        self._cutter.video(dts, pts, sync=frame.sync, payload=frame.payload)

    def _gap(self, dts: int) -> Literal["hole", "long"] | None:
        """Tell whether content is missing before a video frame."""
        if self._last_video is None:
            return None
        step, usual = dts - self._last_video, 10 * self._line.typical("video")
        if step > max(LONG_GAP, usual):
            return "long"
        return "hole" if step > max(self._hole, usual) else None

    def _is_due(self, dts: int) -> bool:
        return not self._cutter.has_video or dts - self._cutter.start >= self._target - EARLY

    def _is_overdue(self, dts: int) -> bool:
        past = dts - self._cutter.start
        return past >= self._longest or self._cutter.size >= self._limits.largest

    def _enter(self, frame: Frame, dts: int, arrival: Arrival, *, hole: bool, fresh: bool) -> None:
        """Begin a segment at a keyframe, with new tracks when they have changed."""
        if fresh or self._audio is not self._tracks.audio:
            self._tracks = Tracks(self._tracks.number + 1, frame.config, self._audio)
            self._broken = True
            log.info("recorder.tracks.changed", init=self._tracks.number, codecs=[t.codec for t in self._tracks.all])
        last = self._line.typical("video") if hole or self._need_key else None
        end = dts if last is None or self._last_video is None else self._last_video + last
        if not self._cutter.has_video:
            end, last = dts, self._line.typical("video")
        self._broken = self._broken or hole or self._need_key
        self._need_key = False
        self._cut(dts, arrival, end=end, last_frame=last)

    def _sound(self, frame: Frame, dts: int, arrival: Arrival) -> None:
        if dts < 0:
            return
        config = frame.config
        if config is not self._audio and config != self._audio:
            self._audio = self._tracks.audio if config == self._tracks.audio else config
            self._grid, self._broken = None, True
        if self._grid is None:
            self._grid = AudioGrid(config.timescale)
        at = self._grid.place(dts, frame.duration)
        if at is None:
            return
        time = at * VIDEO_SCALE // config.timescale
        if self._is_sound_alone(time):
            self._sound_alone(time, arrival)
        if self._audio is self._tracks.audio:
            self._cutter.audio(at, frame.duration, frame.payload)

    def _is_sound_alone(self, time: int) -> bool:
        """Tell whether there is no video, or none comes any more: not a slide that is shown for long."""
        if self._tracks.video is None or self._last_video is None:
            return True
        return time - self._last_video > max(2 * ticks(self._limits.absent), 4 * self._line.typical("video"))

    def _sound_alone(self, time: int, arrival: Arrival) -> None:
        """Cut by time while there is no video, and at once when the sound itself changes."""
        changed = self._audio is not self._tracks.audio
        if not changed and time - self._cutter.start < self._target:
            return
        if changed:
            self._tracks = Tracks(self._tracks.number + 1, self._tracks.video, self._audio)
            log.info("recorder.tracks.changed", init=self._tracks.number, codecs=[t.codec for t in self._tracks.all])
        self._need_key = self._tracks.video is not None
        self._cut(time, arrival, end=time, last_frame=self._line.typical("video"))

    def _cut(self, at: int, arrival: Arrival, *, end: int, last_frame: int | None = None) -> None:
        if self._wall is not None:
            wall_ms = self._wall.at(at, arrival.ms)
            self._cutter.cut(Cut(at, end, last_frame, wall_ms, self._tracks, self._broken))
            self._broken = False


def _waited(since: tuple[Frame, Arrival], newest: Frame, arrival: Arrival) -> int:
    """Tell how long ago a frame came, by its time stamp or by the clock (90 kHz)."""
    frame, came = since
    return max(newest.dts - frame.dts, (arrival.ns - came.ns) * 9 // 100_000)
