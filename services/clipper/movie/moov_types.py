"""The tracks and edits of a movie."""

from __future__ import annotations

from dataclasses import dataclass

from shared.media.model import Int64s, SampleTable
from shared.media.tracks import TrackConfig


@dataclass(frozen=True, slots=True)
class Edit:
    """An entry of an edit list: present the track from presentation time `start` (ticks as in the table).

    `start` None presents nothing. `duration` is in ticks of the track.
    """

    start: int | None
    duration: int


@dataclass(frozen=True, slots=True)
class MovieTrack:
    """One track: how it is decoded, its samples, and its edit list when it does not follow from the window.

    `entry` is each sample's sample entry: 0 is the config's, 1 the first of `extra_entries`.
    """

    config: TrackConfig
    samples: SampleTable
    extra_entries: tuple[bytes, ...] = ()
    entry: Int64s | None = None
    edits: tuple[Edit, ...] | None = None
