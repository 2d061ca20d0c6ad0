"""Sound tracks after the first in enhanced RTMP's multitrack messages."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.ingester.publication import Frame
from services.ingester.recorder.names import audio_name, further_name
from services.ingester.recorder.sound_ids import Named, SoundIds
from services.ingester.recorder.unwrap import Unwrapper
from services.ingester.rtmp.reader import AUDIO_CODECS, FrameReader
from services.ingester.rtmp.tags import MAX_CONFIG, Media
from shared.media.segment_files import AUDIO_ID, MOST_SOUNDS
from shared.rtmp.chunks import AUDIO

MAIN = 0
"""The id of the track that is sent as if it were alone, or could be."""


@dataclass(slots=True)
class FurtherTracks:
    """The tracks by their ids in messages; all stamps are on one clock. Those beyond the most are named, not read."""

    clock: Unwrapper
    unsupported: set[str] = field(default_factory=set)
    dropped: int = 0
    _ids: SoundIds = field(default_factory=SoundIds)
    _readers: dict[int, FrameReader] = field(default_factory=dict)
    _names: dict[int, Named] = field(default_factory=dict)
    _frames: list[Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ids.number(MAIN)

    @property
    def count(self) -> int:
        """The number of tracks that are described and can be recorded."""
        return sum(reader.describes("audio") for reader in self._readers.values())

    @property
    def damaged(self) -> int:
        """The number of unreadable messages."""
        return sum(reader.damaged for reader in self._readers.values())

    def take(self, number: int, timestamp: int, media: Media) -> list[Frame]:
        """Take a track's message; return the frames that it completes."""
        if media.role == "extra":
            return []
        if media.codec not in AUDIO_CODECS or number not in self._readers:
            if media.codec not in AUDIO_CODECS or len(self._readers) >= MOST_SOUNDS - 1:
                if len(self.unsupported) < MOST_SOUNDS:
                    self.unsupported.add(further_name(audio_name(media.codec)))
                return []
            self._readers[number] = FrameReader(self.clock)
            self._names[number] = Named(self._frames.append, self._ids.number(number, AUDIO_ID + number), "")
        reader = self._readers[number]
        if len(media.data) > MAX_CONFIG and media.role == "config":
            self.dropped += 1
        elif media.role == "config":
            reader.describe(AUDIO, media.codec, bytes(media.data))
        else:
            reader.read(AUDIO, media.codec, timestamp, 0, bytes(media.data))
        return self._named(number, reader.take())

    def finish(self) -> list[Frame]:
        """Return the frames that still wait."""
        found: list[Frame] = []
        for number, reader in self._readers.items():
            reader.finish()
            found += self._named(number, reader.take())
        return found

    def _named(self, number: int, frames: list[Frame]) -> list[Frame]:
        for frame in frames:
            self._names[number](frame)
        named = self._frames.copy()
        self._frames.clear()
        return named
