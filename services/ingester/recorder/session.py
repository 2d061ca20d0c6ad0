"""One session's frames, from the demuxer to the segmenter: where the session starts, its tracks, its segment cuts."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from services.ingester.publication import VIDEO_SCALE, Arrival, Frame
from services.ingester.recorder.beginning import Beginning
from services.ingester.recorder.cuts import Cut, EarlyCuts, Tracks, ticks
from services.ingester.recorder.further import FurtherSounds
from services.ingester.recorder.handover import HandOver
from services.ingester.recorder.model import PathOf, RecorderLimits, SegmentInfo, Sink
from services.ingester.recorder.scenes import Scenes
from services.ingester.recorder.segmenter import Segmenter
from services.ingester.recorder.sound_grid import OnGrid, Packet, SoundGrid
from services.ingester.recorder.timecodes import SessionTimecodes
from services.ingester.recorder.timing import Placed, TimeLine
from services.ingester.recorder.wall import WallClock
from shared.media.cenc.key import ContentKey
from shared.media.segment_files import AUDIO_ID
from shared.media.tracks import TrackConfig
from shared.runtime.logging import get_logger

log = get_logger()
EARLY: Final = VIDEO_SCALE // 10
"""A keyframe up to this much before the target also ends a segment: encoders' clocks are rounded."""


class Session:
    """Takes frames as they are demuxed. Raises StoreFull and Unavailable from the disk."""

    def __init__(self, path_of: PathOf, sink: Sink, limits: RecorderLimits, key: ContentKey | None = None) -> None:
        self._sink = sink
        self._limits = limits
        self._cutter = Segmenter(path_of, self._give, limits, key)
        self._line = TimeLine(ticks(limits.jump))
        self._timecodes = SessionTimecodes()
        self._scenes = Scenes()
        self._target, self._longest, self._hole = map(ticks, (limits.target, limits.longest, limits.hole))
        self._still = ticks(limits.still)
        self._beginning = Beginning(limits)
        self._further = FurtherSounds()
        self._tracks = Tracks(-1, None, None)
        self._audio: TrackConfig | None = None
        self._grid: SoundGrid | None = None
        self._over: HandOver | None = None  # from the session's start on
        self._entry = 0
        self._shown: int | None = None  # when the segment's first picture is shown
        self._last_video: int | None = None
        self._sound_alone_for = 0  # 90 kHz ticks of sound since the last picture
        self._broken = False
        self._cuts = EarlyCuts()

    @property
    def segments(self) -> int:
        """The number of segments handed over."""
        return self._over.segments if self._over else 0

    @property
    def bytes(self) -> int:
        """The bytes of the segments handed over."""
        return self._over.bytes if self._over else 0

    @property
    def jumps(self) -> int:
        """The number of jumps of the encoder's clock."""
        return self._line.jumps

    def take(
        self, frame: Frame, arrival: Arrival, *, expects_video: bool, expects_audio: bool, further: int = 0
    ) -> None:
        """Take a frame; before the session starts, frames wait for the tracks that the demuxer expects."""
        if frame.config.track_id > AUDIO_ID:
            self._further.add(frame)
            if self._over is not None:
                self._take_further()
            return
        if frame.config.kind == "video":
            config = self._scenes.described(frame.config, frame.payload, key=frame.sync)
            frame = frame if config is frame.config else frame._replace(config=config)
        if self._over is not None:
            self._route(frame, arrival)
            return
        lacks = len(self._further.configs) < further
        if self._beginning.add(frame, arrival):
            expects_video = expects_audio = lacks = False
        origin = self._beginning.origin(expects_video=expects_video, expects_audio=expects_audio, lacks=lacks)
        if origin is not None:
            self._begin(*origin)

    def finish(self) -> None:
        """Write and hand over everything collected."""
        if self._over is None:
            origin = self._beginning.origin(expects_video=False, expects_audio=False, lacks=False)
            if origin is None:
                return
            self._begin(*origin)
        for placed in self._line.flush():
            self._take(placed)
        if self._grid is not None and self._audio is not None:
            for packet in self._grid.flush():
                self._packet(packet, self._audio)
        self._take_further(last=True)
        self._cutter.finish(self._line.typical("video"))
        if self._over is not None:
            self._over.finish()

    def abandon(self) -> None:
        """Hand over what is on disk after a failed write."""
        self._cutter.abandon()
        if self._over is not None:
            self._over.finish()

    def release(self) -> None:
        """Close the file that is still open, however the session ended."""
        self._cutter.release()

    def _give(self, info: SegmentInfo) -> None:
        if self._over is None:
            return
        timecode, timecodes = self._timecodes.of(info.start * VIDEO_SCALE // info.timescale)
        self._over.take(replace(info, timecode=timecode, timecodes=timecodes) if timecodes else info)

    def _begin(self, first: Frame, arrival: Arrival) -> None:
        """Start with `first` and the preroll that the audio decoder needs; then process the frames that waited."""
        video = first.config if first.config.kind == "video" else None
        if video is None and self._beginning.no_entry:
            log.warning("recorder.video.no_entry", pictures=self._beginning.no_entry)
        self._audio = self._beginning.audio
        self._tracks = Tracks(0, video, self._audio, self._further.tracks)
        lead = self._beginning.sound_before(first)
        self._line.begin(first.dts - lead)
        self._over = HandOver(self._sink, WallClock(lead, arrival), lead, arrival.ns)
        self._cut(0, end=0, clean=first.clean)
        begun = False
        for frame, came in self._beginning.take():
            begun = begun or frame is first
            if begun or (frame.config.kind == "audio" and frame.dts >= first.dts - lead):
                self._route(frame, came)

    def _route(self, frame: Frame, arrival: Arrival) -> None:
        for placed in self._line.place(frame, arrival):
            self._take(placed)
        if self._further.waits:
            self._take_further()
        if self._over is not None and self._over.waits:
            self._over.hand_over(arrival)

    def _take_further(self, *, last: bool = False) -> None:
        for config, at, packet in (*self._further.settled(self._line), *(self._further.flush() if last else ())):
            if config in self._tracks.further:  # otherwise it joins with the next segment that can begin
                self._cutter.further(config.track_id, at, packet.duration, packet.payload)

    def _take(self, placed: Placed) -> None:
        frame, arrival, dts, jumped = placed
        self._broken = self._broken or jumped
        if self._over is not None:
            self._over.note(dts, arrival)
        if frame.config.kind == "video":
            self._video(frame, dts)
        elif dts >= 0:
            self._sound(frame, dts)

    def _video(self, frame: Frame, dts: int) -> None:
        fresh = frame.config is not self._tracks.video and frame.config != self._tracks.video
        pts = dts + frame.offset
        if (fresh and not frame.sync) or min(pts, dts) < 0:
            return
        hole = self._is_hole(dts)
        if self._last_video is None and not fresh:
            self._entry = pts  # the session's first picture; its segment is already started
        elif frame.sync and self._may_enter(due=self._is_due(dts, pts), changed=fresh or self._broken or hole):
            if fresh or hole or self._last_video is None:
                self._entry = pts
            self._enter(frame, dts, hole=hole, fresh=fresh)
        elif fresh or pts < self._entry:
            return  # a change that must wait, or shown before the keyframe where decoding started: nothing to refer to
        elif hole and self._tracks.audio is not None:
            self._broken = True
            self._cut(dts, end=(self._last_video or 0) + self._line.typical("video"), paused=True, clean=False)
        elif self._is_overdue(dts):
            self._cut(dts, end=dts, clean=False)
        self._last_video = dts
        self._shown = pts if self._shown is None else self._shown
        self._sound_alone_for = 0
        self._timecodes.picture(frame, dts)
        self._cutter.video(dts, pts, sync=frame.sync, payload=frame.payload)

    def _is_hole(self, dts: int) -> bool:
        """Return whether content is missing before a video frame; if audio continued, the picture only stood still."""
        if self._last_video is None:
            return False
        step = dts - self._last_video
        if step <= self._hole or step <= 10 * self._line.typical("video"):
            return False
        return self._sound_alone_for < step // 2

    def _is_due(self, dts: int, pts: int) -> bool:
        """Return whether a segment is long enough; x265 decodes its first pictures faster than it shows them."""
        long = max(dts - self._cutter.start, 0 if self._shown is None else pts - self._shown)
        return not self._cutter.has_video or long >= self._target - EARLY

    def _may_enter(self, *, due: bool, changed: bool) -> bool:
        """Return whether a segment starts at a keyframe."""
        return (due or changed) and self._cuts.cut(due=due)

    def _is_overdue(self, dts: int) -> bool:
        past = dts - self._cutter.start
        return past >= self._longest or self._cutter.size >= self._limits.largest

    def _enter(self, frame: Frame, dts: int, *, hole: bool, fresh: bool) -> None:
        """Start a segment at a keyframe, with new tracks when they have changed."""
        if fresh or self._audio is not self._tracks.audio or self._further.tracks != self._tracks.further:
            self._change_tracks(frame.config)
            self._broken = True
        if not self._cutter.has_video:
            hole = False
        self._broken = self._broken or hole
        end = (self._last_video or 0) + self._line.typical("video") if hole else dts
        self._cut(dts, end=end, paused=hole, clean=frame.clean)

    def _change_tracks(self, video: TrackConfig | None) -> None:
        self._tracks = Tracks(self._tracks.number + 1, video, self._audio, self._further.tracks)
        log.info("recorder.tracks.changed", init=self._tracks.number, codecs=[t.codec for t in self._tracks.all])

    def _sound(self, frame: Frame, dts: int) -> None:
        config = frame.config
        if config is not self._audio and config != self._audio:
            self._audio = self._tracks.audio if config == self._tracks.audio else config
            self._grid = None
            self._broken = self._broken or self._tracks.audio is not None
        if self._grid is None:
            self._grid = SoundGrid(config.timescale)
        for packet in self._grid.place(Packet(dts, frame.duration, frame.payload)):
            self._packet(packet, config)

    def _packet(self, placed: OnGrid, config: TrackConfig) -> None:
        at, packet = placed
        time = at * VIDEO_SCALE // config.timescale
        length = packet.duration * VIDEO_SCALE // config.timescale
        self._sound_alone_for += length
        if self._tracks.video is not None and self._tracks.audio is None and time >= self._cutter.start:
            self._change_tracks(self._tracks.video)
            self._cutter.add_sound(self._tracks)
        if self._is_sound_alone():
            self._sound_alone(time)
        if self._audio is self._tracks.audio:
            self._cutter.audio(at, packet.duration, packet.payload)

    def _is_sound_alone(self) -> bool:
        """Return whether there is no video, or it has stopped: a picture may stand still for some seconds."""
        if self._tracks.video is None or self._last_video is None:
            return True
        alone = self._sound_alone_for
        return alone > self._still and alone > 4 * self._line.typical("video")

    def _sound_alone(self, time: int) -> None:
        """Cut by time while there is no video, and immediately when the audio track changes."""
        changed = self._audio is not self._tracks.audio
        late = time - self._cutter.start >= self._target or self._cutter.size >= self._limits.largest
        if not (late or changed) or not self._cuts.cut(due=late):
            return
        if changed or self._further.tracks != self._tracks.further:
            self._change_tracks(self._tracks.video)
        self._cut(time, end=time)

    def _cut(self, at: int, *, end: int, paused: bool = False, clean: bool = True) -> None:
        """Start a segment at `at`; the previous one ends at `end`, which is much earlier where the encoder `paused`.

        `clean`: it starts with an IDR or IRAP picture, not a recovery point or another picture.
        """
        if self._over is not None:
            self._timecodes.cut(at)
            self._cutter.cut(Cut(at, end, paused, self._over.date(at), self._tracks, self._broken, clean))
            self._broken = False
            self._shown = None
