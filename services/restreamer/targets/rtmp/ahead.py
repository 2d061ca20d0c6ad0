"""Packs units early, in the reading thread: it packs many in a row, which takes a third of the CPU time.

The sending thread wakes for each picture with cold caches (ADR 20).
"""

from __future__ import annotations

from collections.abc import Sequence

from services.restreamer.model import Track, Unit, value
from services.restreamer.targets.rtmp import tags
from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.terms import Block, Tracks


@value
class Packed:
    """A block, and the tracks that it was packed for: it is valid for a programme that has these."""

    block: Block
    video: Track
    audio: Track

    def fits(self, tracks: Tracks) -> bool:
        """Return whether the programme has these same tracks: what was read ahead may have been dropped."""
        return tracks.video is self.video and tracks.audio is self.audio


class AheadPacker:
    """Packs the usual case: units of known tracks without an entry. The rest is packed when it is sent."""

    def __init__(self) -> None:
        self._tracks = Tracks()
        self._packer: RtmpPacker | None = None

    def pack(self, units: Sequence[Unit], *, wanted: bool) -> Packed | None:
        """Pack units of which only the first may be an entry or have a track."""
        first = units[0]
        if first.track is not None:
            self._tracks.learn(first.track)
            self._packer = None
            return None
        video, audio = self._tracks.video, self._tracks.audio
        if not wanted or video is None or audio is None or (first.key and first.kind == "video"):
            return None
        if self._packer is None:
            if tags.unfit(video) or tags.unfit(audio) or video.codec not in tags.REORDERED:
                return None  # it cannot be sent, or packing it depends on what was packed before
            self._packer = RtmpPacker()
            self._packer.configure(self._tracks, ("video", "audio"), first.dts)
        return Packed(self._packer.pack(units), video, audio)
