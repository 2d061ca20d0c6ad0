"""Writing frames, in order, as parts and segments on disk.

A part holds video and the audio of the same time, whichever arrived first; a segment's last part waits a little for
late audio, so that audio and video of a segment end together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from services.ingester.publication import VIDEO_SCALE
from services.ingester.recorder.cuts import NEAR, Cut, Tracks, split_at_gaps, ticks
from services.ingester.recorder.model import PathOf, RecorderLimits, SegmentInfo
from services.ingester.recorder.writer import OpenSegment, write_init
from shared.media.cenc.key import ContentKey
from shared.media.cenc.seal import Sealer
from shared.media.mp4.fragments import FragmentWriter, Sample
from shared.media.segment_files import AUDIO_ID, VIDEO_ID, segment_end
from shared.media.segment_head import SegmentHead


@dataclass(slots=True)
class _Held:
    """The newest video frame, whose duration is known when the next one comes."""

    dts: int
    pts: int
    sync: bool
    payload: bytes


@dataclass(slots=True)
class Segmenter:
    """Collects a session's frames with final times, and writes them. Raises StoreFull and Unavailable."""

    path_of: PathOf
    give: Callable[[SegmentInfo], None]
    limits: RecorderLimits
    key: ContentKey | None = None
    _sequence: int = 0
    _initial: int = -1
    _segment: OpenSegment | None = None
    _tracks: Tracks = field(default_factory=lambda: Tracks(-1, None, None))
    _cut: Cut | None = None
    _video: list[Sample] = field(default_factory=list)
    _after: list[Sample] = field(default_factory=list)
    _audio: list[Sample] = field(default_factory=list)
    _further: dict[int, list[Sample]] = field(default_factory=dict)
    _held: _Held | None = None
    _held_bytes: int = 0
    _video_end: int | None = None
    _audio_end: int | None = None
    _start: int = 0
    _last_video: int = -1
    _last_audio: int = -1
    _fragments: FragmentWriter | None = None
    _part: int = field(init=False)
    _audio_wait: int = field(init=False)
    _absent: int = field(init=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self._part, self._audio_wait, self._absent = map(ticks, (limits.part, limits.audio_wait, limits.absent))

    @property
    def start(self) -> int:
        """Where the newest segment starts (90 kHz), even while the previous one still waits for its last audio."""
        return self._cut.start if self._cut else self._start

    @property
    def size(self) -> int:
        """Bytes of the newest segment so far."""
        written = self._segment.size if self._segment and not self._cut else 0
        return written + self._held_bytes

    @property
    def has_video(self) -> bool:
        """Whether the newest segment has video."""
        return self._last_video >= self.start

    def cut(self, cut: Cut) -> None:
        """Start a segment."""
        if self._cut is not None:
            self._close()
        if self._held is not None:
            self._release(max(cut.end - self._held.dts, 1))
        self._cut = cut
        self._held_bytes = 0
        if self._segment is None or cut.tracks is not self._tracks:
            self._close()

    def add_sound(self, tracks: Tracks) -> None:
        """Add an audio track to the current segment, so far video only, under a new init segment."""
        segment = self._segment
        if segment is None:
            return
        self._fragments = self._initiate(tracks)
        self._tracks = tracks
        if segment.sealer is not None:
            segment.sealer.cover(tracks.all)
        broken = segment.head.discontinuity or self._sequence > 0
        segment.amend(self._fragments, replace(segment.head, init_number=tracks.number, discontinuity=broken))

    def video(self, dts: int, pts: int, *, sync: bool, payload: bytes) -> None:
        """Take a video frame (90 kHz)."""
        if self._held is not None:
            self._release(dts - self._held.dts)
        self._held = _Held(dts, pts, sync, payload)
        self._held_bytes += len(payload)
        self._last_video = dts
        self._settle()

    def audio(self, dts: int, duration: int, payload: bytes) -> None:
        """Take an audio frame (ticks of the sample rate)."""
        if self._audio:
            last = self._audio[-1]
            if 0 < abs(dts - last.dts - last.duration) <= 2:  # the grid was corrected
                self._audio[-1] = last._replace(duration=dts - last.dts)
        self._audio.append(Sample(dts, dts, duration, True, payload))
        self._last_audio = self._video_ticks(dts)
        self._held_bytes += len(payload)
        self._settle()

    def further(self, track: int, dts: int, duration: int, payload: bytes) -> None:
        """Take an audio frame of a further track (ticks of its sample rate); nothing waits for it."""
        samples = self._further.setdefault(track, [])
        if samples:
            last = samples[-1]
            if 0 < abs(dts - last.dts - last.duration) <= 2:  # the grid was corrected
                samples[-1] = last._replace(duration=dts - last.dts)
        samples.append(Sample(dts, dts, duration, True, payload))
        self._held_bytes += len(payload)
        if self._held_bytes >= self.limits.part_bytes:
            self._settle()

    def finish(self, typical: int) -> None:
        """Write everything collected and close the last segment."""
        if self._cut is not None:
            self._close()
        if self._held is not None:
            self._release(typical)
        if self._segment is not None:
            self._write(self._video, self._audio, further=self._take_further(None))
            self._hand_over(segment_end(self._start, self._video_end, self._audio_end))

    def abandon(self) -> None:
        """After a failed write, hand over what was written of the current segment."""
        if self._segment is not None:
            self._hand_over(segment_end(self._start, self._video_end, self._audio_end))

    def release(self) -> None:
        """Close the current file, if any; recovery handles its content."""
        if self._segment is not None:
            self._segment.release()

    def _release(self, duration: int) -> None:
        """Queue the held frame for writing, now that its duration is known."""
        held = self._held
        if held is not None:
            samples = self._video if self._cut is None else self._after
            samples.append(Sample(held.dts, held.pts, duration, held.sync, held.payload))
            self._held = None

    def _settle(self) -> None:
        """Write what is due: the end of a segment, or a part."""
        if self._cut is not None:
            if self._is_complete(self._cut):
                self._close()
            return
        video, full = self._video, self._held_bytes >= self.limits.part_bytes
        if video:
            end = video[-1].dts + video[-1].duration
            if end - video[0].dts >= self._part or full:
                self._write_until(end)
                return
        if full:
            self._write(video, self._audio, further=self._take_further(None))
        elif self.is_without_video and self._has_sound_for_a_part:
            self._write(video, self._audio, further=self._take_further(self._last_audio))

    def _is_complete(self, cut: Cut) -> bool:
        """Return whether all audio of the segment before the cut has come, or is no longer waited for."""
        if self._tracks.audio is None or self._last_video - cut.start >= self._audio_wait:
            return True
        if self._held_bytes >= self.limits.largest:
            return True
        return self._last_audio >= cut.start or cut.start - self._last_audio > self._absent

    @property
    def is_without_video(self) -> bool:
        """Whether there is no video, or it stopped while audio continued."""
        return self._tracks.video is None or self._last_audio - self._last_video > self._absent

    @property
    def _has_sound_for_a_part(self) -> bool:
        return bool(self._audio) and self._last_audio - self._video_ticks(self._audio[0].dts) >= self._part

    def _video_ticks(self, at: int) -> int:
        """Convert audio ticks to 90 kHz ticks."""
        return at * VIDEO_SCALE // self._tracks.audio.timescale if self._tracks.audio else 0

    def _write_until(self, end: int) -> None:
        """Write the collected video, and the audio before `end` (90 kHz)."""
        limit = self._tracks.audio_ticks(end)
        count = sum(1 for sample in self._audio if sample.dts < limit)
        self._write(self._video, self._audio[:count], kept=self._audio[count:], further=self._take_further(end))

    def _take_further(self, end: int | None) -> dict[int, list[Sample]]:
        """Take the further tracks' frames before `end` (90 kHz; None: all)."""
        taken: dict[int, list[Sample]] = {}
        for track in self._tracks.further:
            samples = self._further.get(track.track_id, [])
            limit = None if end is None else -(-end * track.timescale // VIDEO_SCALE)
            count = len(samples) if limit is None else sum(1 for sample in samples if sample.dts < limit)
            taken[track.track_id], self._further[track.track_id] = samples[:count], samples[count:]
        return taken

    def _held_sizes(self) -> int:
        """Return the bytes that are not written yet."""
        queued = (self._video, self._audio, *self._further.values())
        return sum(len(sample.payload) for samples in queued for sample in samples)

    def _write(
        self, video: list[Sample], audio: list[Sample], kept: list[Sample] | None = None, *,
        further: dict[int, list[Sample]],
    ) -> None:  # fmt: skip
        """Write one part, and one more after each gap in the audio."""
        self._video, self._audio = [], kept or []
        self._held_bytes = self._held_sizes() + (len(self._held.payload) if self._held else 0)
        segment = self._segment
        if segment is None or not (video or audio or any(further.values())):
            return
        runs = {track: split_at_gaps(samples) for track, samples in ((AUDIO_ID, audio), *further.items())}
        for index in range(max(1, *map(len, runs.values()))):
            part = {track: found[index] for track, found in runs.items() if index < len(found)}
            segment.write({VIDEO_ID: video if not index else [], **part})
            run = part.get(AUDIO_ID)
            if run and self._tracks.audio:
                self._audio_end = self._video_ticks(run[-1].dts + run[-1].duration)
            if video and not index:
                self._video_end = video[-1].dts + video[-1].duration
                segment.keyframes += [s.pts for s in video if s.sync]

    def _close(self) -> None:
        """End the current segment at the pending cut, and start the next one there."""
        cut = self._cut
        if cut is None:
            return
        if self._segment is not None:
            self._write_until(cut.sound_until)
            end = segment_end(self._start, self._video_end, self._audio_end)
            self._hand_over(end if cut.end - end > NEAR else cut.end)
        self._cut = None
        if cut.tracks.audio is not self._tracks.audio:
            self._audio = []
        before = {track.track_id: track for track in self._tracks.further}
        for track in cut.tracks.further:
            if before.get(track.track_id, track) != track:  # frames from before its change
                self._further[track.track_id] = []
        self._begin(cut)
        self._video, self._after = self._after, []
        self._held_bytes = self._held_sizes()

    @property
    def _kid(self) -> bytes:
        return self.key.kid if self.key else b""

    def _initiate(self, tracks: Tracks) -> FragmentWriter:
        """Write the init segment of tracks, and return what makes parts of them."""
        write_init(self.path_of, tracks.number, tracks.all, self._kid)
        return FragmentWriter(tracks.all, self._fragments.sequence if self._fragments else 1)

    def _begin(self, cut: Cut) -> None:
        tracks = cut.tracks
        if tracks is not self._tracks:
            self._fragments = self._initiate(tracks)
        fragments = self._fragments or FragmentWriter(tracks.all)
        start = tracks.ticks(cut.start)
        head = SegmentHead(
            self._sequence, tracks.number, start, tracks.scale, cut.wall_ms, cut.discontinuity,
            VIDEO_ID if tracks.video else AUDIO_ID, cut.clean, self._kid)  # fmt: skip
        # No two segments of a folder have the same number, so that no two samples under its key have the same IV.
        sealer = Sealer(self.key, tracks.all, self._sequence << 32) if self.key else None
        fresh = tracks.number != self._initial
        self._segment = OpenSegment(self.path_of, fragments, head, tracks.scale, start, fresh, sealer)
        self._tracks = tracks
        self._start, self._video_end, self._audio_end = cut.start, None, None

    def _hand_over(self, end: int) -> None:
        """Close the file, and hand over the segment."""
        segment, self._segment = self._segment, None
        if segment is None:
            return
        info = segment.close(max(self._tracks.ticks(end) - segment.start, 1))
        if info is not None:
            self._sequence += 1
            self._initial = info.init_number
            self.give(info)
