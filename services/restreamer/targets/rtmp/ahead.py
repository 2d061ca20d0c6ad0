"""Packing units ahead of time, in the thread that reads: many in a row cost a third each.

The thread that sends is woken for each picture, and its caches are cold by then (ADR 20).
"""

from __future__ import annotations

from collections.abc import Sequence

from services.restreamer.model import Track, Unit, value
from services.restreamer.targets.rtmp import tags
from services.restreamer.targets.rtmp.pack import RtmpPacker
from services.restreamer.targets.terms import Block, Tracks


@value
class Packed:
    """A block, and the tracks that it was packed for: it is good for a programme that has these."""

    block: Block
    video: Track
    audio: Track

    def fits(self, tracks: Tracks) -> bool:
        """Tell whether the programme has the very tracks: what was read ahead may have been thrown away."""
        return tracks.video is self.video and tracks.audio is self.audio


class AheadPacker:
    """Packs what is usual: units of known tracks that are no entry. The rest is packed when it is sent."""

    def __init__(self) -> None:
        self._tracks = Tracks()
        self._packer: RtmpPacker | None = None

    def pack(self, units: Sequence[Unit], *, wanted: bool) -> Packed | None:
        """Pack units; only the first may be an entry or bring a track. None: they are packed when they are sent."""
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
                return None  # it cannot be sent, or its packer has to know what was packed before
            self._packer = RtmpPacker()
            self._packer.configure(self._tracks, ("video", "audio"), first.dts)
        return Packed(self._packer.pack(units), video, audio)
