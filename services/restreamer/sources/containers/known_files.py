"""A cache of what FFmpeg found in local files, so that a looping list need not open them each time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from threading import Lock
from typing import Final, NamedTuple

from cachetools import LRUCache

from services.restreamer.model import Kind, Track
from services.restreamer.sources.frames import Raw
from services.restreamer.sources.origins.files import Identity

MOST_KNOWN: Final = 256
SETTLED_NS: Final = 2_000_000_000
"""A file that changed less than this before it is opened may change again with the same time stamp."""


class KnownFile(NamedTuple):
    """The properties of an opened file, as a Demuxer has them, and the first frame of each track."""

    end: int | None
    created_ms: int | None
    shown_from: int | None
    video_end: int | None
    first: Mapping[Kind, Raw]

    @property
    def has_video(self) -> bool:
        """Whether there is a video track."""
        return "video" in self.first

    @property
    def has_audio(self) -> bool:
        """Whether there is an audio track."""
        return "audio" in self.first


_known: Final[LRUCache[Identity, KnownFile]] = LRUCache(MOST_KNOWN)
_lock: Final = Lock()


def recall(identity: Identity) -> KnownFile | None:
    """Return what is known of a file; None when nothing is."""
    with _lock:
        return _known.get(identity)


def is_settled(identity: Identity) -> bool:
    """Return whether a change of the file's content, from now on, will certainly change its identity."""
    return time.time_ns() - identity.changed_ns >= SETTLED_NS


def remember(identity: Identity, known: KnownFile) -> None:
    """Keep what is known of a file that was settled when opened, and was read to its end."""
    first = {kind: replace(raw, data=b"") for kind, raw in known.first.items()}
    with _lock:
        _known[identity] = known._replace(first=first)


def described(frames: Iterator[Raw], first: Mapping[Kind, Raw]) -> Iterator[Raw]:
    """Yield the frames, the first of each track with its description."""
    missing: dict[Kind, Track | None] = {kind: raw.track for kind, raw in first.items()}
    while missing and (raw := next(frames, None)) is not None:
        yield replace(raw, track=missing.pop(raw.kind, None))
    yield from frames
