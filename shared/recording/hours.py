"""Index objects: a closed hour of a recording as JSON beside its media.

An object is written once, under a key that ends in the sequence in SEGMENTS up to which it is complete. A late segment
makes a new object; the record's compare-and-set decides which is valid (docs/adr/0003-recording-index.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from typing import Final

from pydantic import ValidationError

from shared.errors import Permanent
from shared.media.timeline import Identity, identity, locate
from shared.messages.media import IndexedSegment, IndexHour, SegmentWritten
from shared.messages.recordings import HourSummary, LostHour
from shared.recording.numbering import names_in, runs_of, runs_of_names
from shared.store.base import MediaStore

HOUR_MS: Final = 3_600_000


class IndexDamaged(Permanent):
    """An index object differs from what its record says."""


def hour_of(wall_ms: int) -> int:
    """Return the hour since the epoch in which a wall-clock time (ms) lies."""
    return wall_ms // HOUR_MS


def index_folder(event: str) -> str:
    """Return the key prefix of an event's index objects."""
    return f"live/{event}/index"


def hour_key(event: str, hour: int, log_sequence: int, part: str = "") -> str:
    """Return the key of an hour's index object that is complete up to a sequence in SEGMENTS, or of a part of it."""
    return f"{index_folder(event)}/{hour:08}-{log_sequence:012}{f'-{part}' if part else ''}.json"


def log_sequence_of(key: str) -> int | None:
    """Return the sequence in SEGMENTS from an index object's key; None for another object's key."""
    parts = key.rsplit("/", 1)[-1].removesuffix(".json").split("-")
    return int(parts[1]) if len(parts) in {2, 3} and all(part.isdecimal() for part in parts[:2]) else None


def is_whole_of(known: SegmentWritten, segment: SegmentWritten) -> bool:
    """Return whether a segment is the whole of one that was salvaged short: it replaces that one, with its number."""
    return known.recovered and segment.bytes > known.bytes


def make_hour(event: str, hour: int, log_sequence: int, segments: Sequence[IndexedSegment]) -> IndexHour:
    """Make an hour of the segments, each once, in order of stream time."""
    unique: dict[Identity, IndexedSegment] = {}
    for indexed in segments:
        known = unique.setdefault(identity(indexed.segment), indexed)
        if is_whole_of(known.segment, indexed.segment):
            unique[identity(indexed.segment)] = known.model_copy(
                update={"log": indexed.log, "segment": indexed.segment}
            )
    ordered = sorted(unique.values(), key=lambda i: (locate(i.segment).start, i.log))
    return IndexHour(event=event, hour=hour, last_log_sequence=log_sequence, segments=tuple(ordered))


def save_hour(store: MediaStore, hour: IndexHour, *, part: bool = False) -> HourSummary:
    """Write an hour's object and return its summary; a `part` of an hour gets its own key. Blocks."""
    body = hour.model_dump_json().encode()
    mark = hashlib.sha256(body).hexdigest()[:12] if part else ""
    key = hour_key(hour.event, hour.hour, hour.last_log_sequence, mark)
    store.put(key, body)
    segments = [indexed.segment for indexed in hour.segments]
    return HourSummary(
        hour=hour.hour,
        key=key,
        segments=len(segments),
        bytes=sum(segment.bytes for segment in segments),
        sha256=hashlib.sha256(body).hexdigest(),
        log_sequence=hour.last_log_sequence,
        stream_start_ms=min(start_ms(segment) for segment in segments),
        stream_end_ms=max(start_ms(segment) + length_ms(segment) for segment in segments),
        wall_start_ms=min(segment.wall_start_ms for segment in segments),
        wall_end_ms=max(segment.wall_start_ms + length_ms(segment) for segment in segments),
        longest_ms=max(length_ms(segment) for segment in segments),
        runs=runs_of(segments),
    )


def restore_hour(store: MediaStore, hour: IndexHour, old: HourSummary) -> HourSummary:
    """Write a rebuilt hour and return the summary to list: the old one when nothing differs. Blocks.

    Otherwise it gets its own key, because readers keep what they have read under the old one.
    """
    body = hour.model_dump_json().encode()
    if hashlib.sha256(body).hexdigest() == old.sha256:
        store.put(old.key, body)
        return old
    return save_hour(store, hour, part=True)


def carry_over(new: HourSummary, old: HourSummary, *, gained: int = 0, unread: bool = False) -> HourSummary:
    """Return an hour's new summary with what is still missing of it; `gained` segments were not in the old one.

    `unread`: the old object could not be read, so the hour lacks every segment that the new one does not have.
    """
    lost = old.lost
    if lost is None and unread:
        lost = LostHour(key=old.key, sha256=old.sha256, segments=old.segments)
    if lost is None:
        return new
    names = None if old.runs is None or new.runs is None else {*names_in(old.runs), *names_in(new.runs)}
    runs = None if names is None else runs_of_names(names)
    every = lost.segments + gained if names is None else len(names)
    if new.segments >= every:
        return new.model_copy(update={"lost": None})
    changes = {"lost": lost.model_copy(update={"segments": every}), "runs": runs}
    return new.model_copy(update=changes | _spanning(new, old))


def _spanning(new: HourSummary, old: HourSummary) -> dict[str, int]:
    """Return the bounds of both summaries: missing segments lie within the old ones."""
    return {
        "stream_start_ms": min(old.stream_start_ms, new.stream_start_ms),
        "stream_end_ms": max(old.stream_end_ms, new.stream_end_ms),
        "wall_start_ms": min(old.wall_start_ms, new.wall_start_ms),
        "wall_end_ms": max(old.wall_end_ms, new.wall_end_ms),
        "longest_ms": max(old.longest_ms, new.longest_ms),
    }


def with_missing(part: HourSummary, hour: HourSummary, missing: Collection[Identity]) -> HourSummary:
    """Return the summary of a part of an hour with those of the hour's missing segments that belong to the part."""
    runs = None if part.runs is None else runs_of_names({*names_in(part.runs), *missing})
    if hour.lost is None or not missing or runs is None:
        return part.model_copy(update={"lost": None})
    lost = hour.lost.model_copy(update={"segments": part.segments + len(missing)})
    return part.model_copy(update={"lost": lost, "runs": runs} | _spanning(part, hour))


def lost_hour(hour: HourSummary) -> HourSummary | None:
    """Return the summary of the hour's object from before it lost segments; None for a complete hour."""
    lost = hour.lost
    return None if lost is None else hour.model_copy(update={"key": lost.key, "sha256": lost.sha256, "lost": None})


def keys_of(hour: HourSummary) -> tuple[str, ...]:
    """Return the keys of the objects that an hour needs: its own, and its earlier one, which may come back."""
    return (hour.key,) if hour.lost is None else (hour.key, hour.lost.key)


def load_hour(store: MediaStore, summary: HourSummary) -> IndexHour:
    """Read an hour's object; ObjectMissing, or IndexDamaged when its content has changed. Blocks."""
    body = store.get(summary.key)
    if hashlib.sha256(body).hexdigest() != summary.sha256:
        raise IndexDamaged(f"{summary.key} has changed since it was written")
    try:
        return IndexHour.model_validate_json(body)
    except ValidationError as error:
        raise IndexDamaged(f"{summary.key} is not an index") from error


def start_ms(segment: SegmentWritten) -> int:
    """Return the stream time of a segment's start, in ms, rounded down."""
    return segment.origin_ms + segment.start * 1000 // segment.timescale


def length_ms(segment: SegmentWritten) -> int:
    """Return a segment's duration in ms, rounded up."""
    return -(-segment.duration * 1000 // segment.timescale)
