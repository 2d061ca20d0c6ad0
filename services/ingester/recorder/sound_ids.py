"""Which track of the recording a sound track of a stream becomes."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace

from services.ingester.publication import Frame
from shared.media.segment_files import AUDIO_ID, MOST_SOUNDS
from shared.media.tracks import TrackConfig


class SoundIds:
    """Gives out track ids, each to one of a stream's sound tracks, which keeps it for as long as it is there.

    The first is that of the sound that is played by default. When its track ends and others go on, they keep theirs.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, int] = {}

    def number(self, source: Hashable, wished: int = AUDIO_ID) -> int:
        """Return the id of a track: for a new one the one that is wished, or the first that is free."""
        if source not in self._held:
            taken = self._held.values()
            free = [number for number in range(AUDIO_ID, AUDIO_ID + MOST_SOUNDS) if number not in taken]
            self._held[source] = wished if wished in free else next(iter(free), AUDIO_ID)
        return self._held[source]

    def free(self, source: Hashable) -> None:
        """Forget a track that has ended."""
        self._held.pop(source, None)


class Named:
    """Passes on a sound track's frames with its track id and language."""

    def __init__(self, give: Callable[[Frame], None], number: int, language: str) -> None:
        self._give = give
        self._number, self._language = number, language
        self._own: TrackConfig | None = None
        self._named: TrackConfig | None = None

    def __call__(self, frame: Frame) -> None:
        """Take a frame."""
        if frame.config is not self._own or self._named is None:
            self._own = frame.config
            named = replace(frame.config, track_id=self._number, language=self._language)
            self._named = named if named != self._named else self._named
        self._give(frame._replace(config=self._named))
