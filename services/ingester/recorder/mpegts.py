"""Reading MPEG-TS (ISO/IEC 13818-1): video and audio of the first program."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.ingester.publication import MAX_OFFSET, Contents, Frame, Kind, NotMedia
from services.ingester.recorder.damage import DAMAGE
from services.ingester.recorder.names import OURS, further
from services.ingester.recorder.packets import run_ends, until_error
from services.ingester.recorder.pes import PAYLOAD, START, payload_of
from services.ingester.recorder.psi import Sections, Stream, has_further_programs, read_pat, read_pmt
from services.ingester.recorder.sound_ids import Named, SoundIds
from services.ingester.recorder.stamps import Placed, Stamps
from services.ingester.recorder.ts_sound import AUDIO_CODECS, sound_track
from services.ingester.recorder.ts_track import Track
from services.ingester.recorder.units import AccessUnits, Unit
from services.ingester.recorder.unwrap import Unwrapper
from shared.media.segment_files import MOST_SOUNDS
from shared.media.tracks import VideoCodec
from shared.runtime.logging import get_logger

log = get_logger()
PACKET, SYNC = 188, 0x47
PIDS = range(0x10, 0x1FFF)
"""The PIDs that a program's map and tracks may use; others are tables or reserved (table 2-3)."""
MAX_SKIPPED = 1 << 20
LOCKED = 5
"""This many sync bytes in a row are not chance."""
LOOK = LOCKED * PACKET
VIDEO_CODECS: dict[str, VideoCodec] = {"h264": "h264", "hevc": "hevc"}
SYNCS = bytes((SYNC,))

Take = Callable[[int, int, bytes], None]
"""Takes a run of packets: the header bits of the first and the last one (see pes.py), and their joined bodies."""


class TsDemuxer:
    """Demuxes one MPEG-TS stream. Frames with lost bytes are dropped and counted in `damaged`."""

    def __init__(self) -> None:
        self._unsupported: set[str] = set()
        self._frames: list[Frame] = []
        self._rest = b""
        self._skipped = 0
        self._handlers: dict[int, Take] = {0: self._table(Sections(), self._associate)}
        self._streams: dict[int, tuple[Stream, Track]] = {}
        self._map_pid: int | None = None
        self._clock = Unwrapper(33)
        self._contents = Contents()
        self._sounds = SoundIds()
        self._dropped = self._failures = 0

    @property
    def unsupported(self) -> set[str]:
        """The tracks that cannot be recorded, by name, such as "AV1 video"."""
        return self._unsupported.union(*(track.unsupported for _, track in self._streams.values()))

    @property
    def damaged(self) -> int:
        """The number of dropped frames."""
        return self._dropped + sum(track.damage for _, track in self._streams.values())

    @property
    def contents(self) -> Contents:
        """The contents that the program's map names; the same object while nothing changes."""
        kinds: list[Kind] = ["video" if s.codec in VIDEO_CODECS else "audio" for s, _ in self._streams.values()]
        contents = Contents(frozenset(kinds), frozenset(self.unsupported), max(kinds.count("audio") - 1, 0))
        if contents != self._contents:
            self._contents = contents
        return self._contents

    def feed(self, data: bytes) -> list[Frame]:
        """Take bytes; return the frames that end in them. NotMedia when too many bytes contain no packets."""
        data = self._rest + data if self._rest else data
        at = 0
        while (count := (len(data) - at) // PACKET) > 0:
            good = self._packets(data, at, count)
            at += good * PACKET
            if good < count:
                at = self._past_bad(data, at)
        self._rest = data[at:]
        return self._given()

    def _packets(self, data: bytes, at: int, count: int) -> int:
        """Take the packets from `at` up to the first bad one; return how many were taken.

        Consecutive packets of one PES packet, the usual case, are handled in one run.
        """
        end = at + count * PACKET
        # The packets' first four bytes as columns; numpy would need many calls, each with its overhead.
        syncs, highs, lows, controls = (data[at + byte : end : PACKET] for byte in range(4))
        count = min(count - len(syncs.lstrip(SYNCS)), until_error(highs))
        if not count:
            return 0
        self._skipped = 0 if count >= LOCKED else self._skipped + count * PACKET
        bodies = np.ndarray((count, PAYLOAD), np.uint8, data, at + PACKET - PAYLOAD, (PACKET, 1))
        start = 0
        for stop in run_ends(highs[:count], lows[:count], controls[:count]):
            high = highs[start]
            pid = (high & 0x1F) << 8 | lows[start]
            handler = self._handlers.get(pid)
            if handler is not None:
                first = high << 16 | controls[start]
                try:
                    handler(first, first if stop - start == 1 else controls[stop - 1], bodies[start:stop].tobytes())
                except DAMAGE as error:
                    self._failed(pid, error)
            start = stop
        return count

    def _past_bad(self, data: bytes, at: int) -> int:
        """Skip a packet that is marked as damaged (transport_error_indicator), or bytes that are not a packet."""
        return at + PACKET if data[at] == SYNC else self._resync(data, at)

    def flush(self) -> list[Frame]:
        """Return the frames that the end of the stream completes."""
        for pid, (_, track) in list(self._streams.items()):
            try:
                track.end()
            except DAMAGE as error:
                self._failed(pid, error)
        return self._given()

    def _failed(self, pid: int, error: Exception) -> None:
        """Count unreadable data as damage; the track restarts at its next parameter sets."""
        self._dropped += 1
        if not self._failures:  # once: damage may come in every packet
            log.warning("recorder.damaged", pid=pid, error=f"{type(error).__name__}: {error}")
        self._failures += 1
        if pid in self._streams:
            stream, track = self._streams[pid]
            self._dropped += track.damage
            self._add(stream)

    def _add(self, stream: Stream) -> None:
        give = self._frames.append
        if stream.codec in AUDIO_CODECS:
            give = Named(give, self._sounds.number(stream.pid), stream.language)
        track = _track(stream, self._clock, give)
        self._streams[stream.pid] = (stream, track)
        self._handlers[stream.pid] = track.take

    def _given(self) -> list[Frame]:
        frames = self._frames.copy()
        self._frames.clear()
        return frames

    def _resync(self, data: bytes, at: int) -> int:
        """Return the offset at which packets continue."""
        found = data.find(SYNC, at + 1)
        while found >= 0 and any(data[ahead] != SYNC for ahead in range(found, min(found + LOOK, len(data)), PACKET)):
            found = data.find(SYNC, found + 1)
        found = len(data) if found < 0 else found
        self._skipped += found - at
        if self._skipped > MAX_SKIPPED:
            raise NotMedia("no MPEG-TS packets in a mebibyte")
        return found

    def _table(self, sections: Sections, use: Callable[[bytes], None]) -> Take:
        def take(first: int, last: int, bodies: bytes) -> None:
            payload = payload_of(first, last, bodies)
            section = sections.take(payload, start=bool(first & START)) if payload else None
            if section is not None:
                use(section)

        return take

    def _associate(self, section: bytes) -> None:
        pid = read_pat(section)
        if pid is None or pid == self._map_pid or pid not in PIDS:
            return
        if has_further_programs(section):
            self._unsupported.add("further program data")
        if self._map_pid is not None:
            self._handlers.pop(self._map_pid, None)
        self._map_pid = pid
        if pid in self._streams:  # it was a track's PID; the new map's tracks are not known yet
            self._drop(pid)
        self._handlers[pid] = self._table(Sections(), self._map)

    def _map(self, section: bytes) -> None:
        """Follow the program's first video track and its sound tracks; tracks that stay are not interrupted."""
        streams = read_pmt(section)
        if streams is None:
            return
        self._unsupported.update(s.codec for s in streams if s.codec not in (*VIDEO_CODECS, *AUDIO_CODECS))
        usable = [s for s in streams if s.pid in PIDS and s.pid != self._map_pid]
        video = [s for s in usable if s.codec in VIDEO_CODECS][:1]
        sounds = [s for s in usable if s.codec in AUDIO_CODECS][:MOST_SOUNDS]
        wanted = {s.pid: s for s in (*video, *sounds)}
        self._unsupported.update(further(s.codec) for s in streams if s.codec in OURS and wanted.get(s.pid) != s)
        for pid, (stream, _) in list(self._streams.items()):
            if wanted.get(pid) != stream:
                self._drop(pid)
        for pid, stream in wanted.items():
            if pid not in self._streams:
                self._add(stream)

    def _drop(self, pid: int) -> None:
        """End a track that is no longer in the program."""
        _, track = self._streams.pop(pid)
        self._sounds.free(pid)
        del self._handlers[pid]
        try:
            track.end()
        except DAMAGE as error:
            self._failed(pid, error)
        self._dropped += track.damage


def _track(stream: Stream, clock: Unwrapper, give: Callable[[Frame], None]) -> Track:
    if stream.codec in VIDEO_CODECS:
        return _VideoTrack(VIDEO_CODECS[stream.codec], clock, give)
    return sound_track(stream, clock, give)


class _VideoTrack(Track):
    def __init__(self, codec: VideoCodec, clock: Unwrapper, give: Callable[[Frame], None]) -> None:
        super().__init__(clock, give)
        self._units = AccessUnits(codec)
        self._stamps = Stamps(self._units.order)

    @property
    def damage(self) -> int:
        """The number of unusable packets, units and time stamps."""
        return self.damaged + self._units.damaged + self._stamps.damaged

    def begins(self, data: bytes, at: int) -> None:
        self._take(self._units.announce(data, at))

    def packet(self, pts: int | None, dts: int | None, data: bytes, at: int) -> None:
        self._take(self._units.take(data, at, None if pts is None or dts is None else (pts, dts)))

    def lost(self, *, torn: bool, counted: bool) -> None:
        self._take(self._units.lost(torn=torn, counted=counted))
        self._show(self._stamps.lost())

    def end(self) -> None:
        super().end()
        self._take(self._units.finish())
        self._show(self._stamps.finish())

    def _take(self, units: list[Unit]) -> None:
        for unit in units:
            if unit.stamp is None:
                self._show(self._stamps.unstamped(unit))
                continue
            pts, dts = unit.stamp
            offset = ((pts - dts + (1 << 32)) & ((1 << 33) - 1)) - (1 << 32)
            if abs(offset) > MAX_OFFSET:
                self.damaged += 1
            else:
                self._show(self._stamps.stamped(unit, self._clock.take(dts), offset))

    def _show(self, placed: list[Placed]) -> None:
        for (config, payload, sync, clean, *_), dts, offset in placed:
            self._give(Frame(config, dts, offset, sync, payload, clean=clean))
