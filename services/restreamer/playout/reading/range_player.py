"""Feeds one range of a file into the splicer: packets in, shots and sound out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from services.restreamer.model import FLICKS, Packet, SourceError, Track
from services.restreamer.playout.children.workshop import RecodedApart, Workshop
from services.restreamer.playout.order.ahead import Opened
from services.restreamer.playout.order.programme import TOLERANCE
from services.restreamer.playout.pictures.copied import CopiedVideo
from services.restreamer.playout.pictures.still import StillMedia
from services.restreamer.playout.reading.evener import LONGEST_STILL, Evener
from services.restreamer.playout.reading.measure import Sample, look_ahead, measure
from services.restreamer.playout.reading.splice import DEEPEST, Part, Shot, Splicer
from services.restreamer.playout.reading.verdict import Found, Verdict, decide, encoded_whole
from services.restreamer.playout.reading.waits import Metered
from services.restreamer.playout.sound.sounds import CopiedSound, EncodedSound, NoSound, Sound
from services.restreamer.sources.apart.kept import Keep
from shared.media.transcode.shape import Shape
from shared.media.transcode.sound_packets import track_for, usual_samples
from shared.media.transcode.sound_run import SoundRun
from shared.messages.restreams import PlaylistCursor


class NothingThereError(SourceError):
    """A range has no picture: it is shorter than a frame, or after the file's last one."""


@dataclass(slots=True)
class RangePlayer:
    """Plays one range. `open` reads its beginning and decides; then come `begin`, `play` and `end`. SourceError."""

    opened: Opened
    stream: Shape | None
    takes: frozenset[str]
    keep: Keep
    verdict: Verdict = field(init=False)
    reached: int = 0
    """The file's time up to which packets were taken."""
    shown: bool = False
    _packets: Metered = field(default_factory=Metered)
    _track: Track = field(init=False)
    _audio: Track | None = field(init=False)
    _sample: Sample = field(init=False)
    _video: CopiedVideo | RecodedApart = field(init=False)
    _sound: Sound = field(init=False)
    _splicer: Splicer = field(init=False)
    _evener: Evener = field(default_factory=Evener)
    _flushed: bool = False
    _workshop: Workshop = field(init=False)
    _pictures_end: int = field(init=False)

    def __post_init__(self) -> None:
        self._workshop = Workshop(self.keep, self.opened.stop)

    @property
    def reading(self) -> bool:
        """Return whether a read waits for the file's source; for other threads."""
        return self._packets.reading

    @property
    def live(self) -> bool:
        """Return whether it is a live event, which begins at a keyframe."""
        return self.opened.item is None

    def open(self) -> None:
        """Read the first packets, and decide how the file is played. SourceError, CutError, FFmpegError."""
        span, media, marked = self.opened.span, self.opened.media, self.opened.mark is not None
        self._packets = Metered(media.packets(span.start))
        begin = look_ahead(media, iter(self._packets))
        if begin.video is None:
            raise SourceError("the file has no pictures")
        self._track, self._audio = begin.video, begin.audio
        mute = ""
        unheard = self._audio is not None and self._audio.codec not in self.takes
        if self._audio is not None and unheard and not self._workshop.can_decode(self._audio):
            mute, self._audio = f"its sound ({self._audio.codec}) cannot be decoded", None
        self._sample = sample = measure(begin.packets, self._track)
        key = sample.first_key
        if key is None:
            raise SourceError("no picture can be read")
        self._pictures_end = min(span.start, key.dts)
        found = Found(self._track, self._audio, sample.rate, sample.deep, isinstance(media, StillMedia))
        self.verdict = decide(found, self.stream, self.takes, self.opened.listing.encoding, marked=marked).told(mute)
        start = key.pts if self.live else span.start
        seams = None
        inside = key.pts < start - TOLERANCE
        if self.verdict.video == "copy" and (inside or span.end is not None):
            seams, why = self._workshop.seams(self._track, sample, tail=not inside)
            if seams is None and (inside or sample.depth):
                self.verdict = encoded_whole(self.verdict, why)
        if self.verdict.video == "copy":
            self._video = CopiedVideo(self._track, start, span.end, seams, self._reread)
        else:
            self._video = self._workshop.pictures(
                self._track, self.verdict.shape, start, span.end, hole=sample.hole, mark=self.opened.mark
            )

    def part(self, file: int, moved: int) -> Part:
        """Return the part that describes what plays."""
        opened, media = self.opened, self.opened.media
        return Part(
            file, opened.cursor, self.verdict.how, self.verdict.reason, opened.item, self._track, self._audio,
            media.duration, opened.listing.number, moved, self.live,
        )  # fmt: skip

    def begin(self, splicer: Splicer, part: Part, run: SoundRun | None) -> SoundRun | None:
        """Join what was played before; return the run of encoded sound to go on with. SourceError, CutError."""
        self._splicer = splicer
        audio, shape = self._audio, self.verdict.shape
        if run is not None and (self.verdict.audio == "copy" or run.shape.audio != shape.audio):
            run.finish()
            run = None
        rate, reorder = self._sample.rate, DEEPEST
        if isinstance(self._video, RecodedApart):
            rate, reorder = shape.rate, self._video.depth + 1
        splicer.begin(part, reorder=reorder, typical=FLICKS * rate.denominator // rate.numerator)
        if audio is None:
            track = splicer.lane.track or track_for(shape)
            if track.codec != shape.audio or track.sample_rate != shape.sample_rate:
                track = track_for(shape)
            self._sound = NoSound(splicer, track, usual_samples(track), run)
        elif self.verdict.audio == "copy":
            self._sound = CopiedSound(audio, splicer)
        else:
            run = run or SoundRun(shape, splicer.lane.end, splicer.lane.append)
            heard = self._workshop.sound(audio, run.layout, run.rate, run.shape.channels)
            self._sound = EncodedSound(heard, splicer, run)
        return run

    def play(self) -> Iterator[None]:
        """Take packets up to the out point or the file's end; yield after each, and between pictures."""
        video, sound = self._video, self._sound
        for packet in chain(self._sample.packets, self._packets):
            self.reached = packet.dts
            even = self._evener.even(packet)
            if self._evener.shift != video.shift:
                self._follow_shift()
            if even.kind == "video":
                for number, shot in enumerate(video.push(even)):
                    if number:  # a picture that stays on for long becomes many
                        yield
                    self._shot(shot)
                self._pictures_end = even.dts + min(even.duration, LONGEST_STILL)
                sound.advance(even.dts)
            else:
                self._hear(even)
            yield
            if video.done and self._complete(packet):
                break
        self.flush()
        if not self.shown:
            raise NothingThereError("the file has nothing to show there")

    def flush(self) -> None:
        """Play what is held back, as no packet follows."""
        if self._flushed:
            return
        self._flushed = True
        self._packets.close()  # the file may be read again only after this read has ended
        for shot in self._video.finish():
            self._shot(shot)

    def end(self, after: PlaylistCursor | None) -> None:
        """End the range; `after` is the position that follows."""
        video = self._video
        self._splicer.end(after, video.limit if video.done else None)
        self._sound.finish()

    def close(self) -> None:
        """Release the child processes that worked for it."""
        self._workshop.close()

    def _hear(self, packet: Packet) -> None:
        if packet.dts - self._pictures_end > LONGEST_STILL:
            return  # no picture comes for it, or too late
        if self._video.limit is None or packet.pts < self._video.limit - TOLERANCE:
            self._sound.push(packet)

    def _complete(self, packet: Packet) -> bool:
        """Return whether pictures and sound have reached the out point."""
        end = self.opened.span.end
        return self._video.done and (self._audio is None or end is None or packet.dts >= end)

    def _follow_shift(self) -> None:
        """Move the part's times with those of its packets, after a jump."""
        self._video.shift = self._evener.shift
        if self.opened.span.end is not None:
            self._video.limit = self.opened.span.end + self._evener.shift

    def _shot(self, shot: Shot) -> None:
        self.shown = True
        self._splicer.shot(shot)

    def _reread(self, at: int) -> Iterator[Packet]:
        """Yield the file's packets again, from the keyframe before the part's time `at`."""
        shift = self._evener.shift
        for packet in self.opened.media.packets(max(at - shift, 0)):
            yield packet.later(shift)
