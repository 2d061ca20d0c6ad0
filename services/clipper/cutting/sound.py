"""The sound of a clip: copied, with coded silence in its holes, or encoded where needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event

import numpy as np

from services.clipper.cutting.assemble import AUDIO_TRACK, merge_files
from services.clipper.cutting.audio import AudioPart, lay_audio
from services.clipper.cutting.columns import joined, taken
from services.clipper.cutting.plan import ClipSpan
from services.clipper.cutting.resound import can_encode, encode_sound
from services.clipper.cutting.samples import Spool
from services.clipper.movie.movie import MovieTrack
from shared.media.model import Int64s, SampleTable
from shared.media.seams.silence import silent_packet
from shared.media.seams.source import Audio, same_stream

REPEATS = 512  # copies of the silent packet in the spool, side by side, so that long holes are few ranges to copy


def sound_differs(spans: Sequence[ClipSpan]) -> bool:
    """Return whether the spans' sound, in any of its tracks, cannot share one without encoding."""
    return any(map(_differs, _each_sound(spans)))


def make_sounds(spans: Sequence[ClipSpan], spool: Spool, stop: Event, *, joined: bool = False) -> list[MovieTrack]:
    """Lay out all sound tracks of the spans from time 0 on, the first one first. New packets go into `spool`.

    Where ranges are `joined`, whole packets do not fit the points of each to the sample, and a decoder would overlap
    what never was side by side: there it is encoded again, where that can be done.
    """
    made: list[MovieTrack] = []
    for number, own in enumerate(_each_sound(spans)):
        if number and _differs(own) and not can_encode(own):
            continue  # a further track that cannot be joined is left out
        if (track := _make_sound(own, spool, stop, joined=joined)) is not None:
            made.append(replace(track, config=replace(track.config, track_id=AUDIO_TRACK + len(made))))
    return made


def _each_sound(spans: Sequence[ClipSpan]) -> Iterator[Sequence[ClipSpan]]:
    """Yield the spans once with their first sound track, then with each further one, where they have it.

    Sessions' tracks are the same when they have the same language; without one, when they have the same number.
    """
    yield spans
    named = [_by_name(span.piece.further) for span in spans]
    for name in dict.fromkeys(name for names in named for name in names):
        yield [
            replace(span, piece=replace(span.piece, audio=names.get(name)))
            for span, names in zip(spans, named, strict=True)
        ]


def _by_name(sounds: Sequence[Audio]) -> dict[tuple[str, int], Audio]:
    found: dict[tuple[str, int], Audio] = {}
    for audio in sounds:
        language = audio.config.language
        alike = sum(1 for known, _ in found if known == language)
        found[language, alike if language else audio.config.track_id] = audio
    return found


def _differs(spans: Sequence[ClipSpan]) -> bool:
    configs = [span.piece.audio.config for span in spans if span.piece.audio is not None]
    return any(not same_stream(configs[0], config) for config in configs)


def _make_sound(spans: Sequence[ClipSpan], spool: Spool, stop: Event, *, joined: bool) -> MovieTrack | None:
    """Lay out one sound track of the spans; None when there is none."""
    if _differs(spans) or (joined and can_encode(spans)):
        audio = encode_sound(spans, spool, stop)
        parts = [AudioPart(audio, np.arange(len(audio.at)), audio.at)]
    else:
        parts = lay_audio(spans)
    return _track(parts, spool) if parts else None


def _track(parts: Sequence[AudioPart], spool: Spool) -> MovieTrack:
    """Join the parts to a track; packets keep their times, so a packet before a join may last longer or shorter."""
    config = parts[0].audio.config
    at = joined([part.at for part in parts])
    sizes = joined([taken(part.audio.table.size, part.rows) for part in parts])
    offsets = joined([taken(part.audio.table.offset, part.rows) for part in parts])
    files, sources = merge_files([(p.audio.table.files, taken(p.audio.table.source, p.rows)) for p in parts])
    usual = int(np.median(joined([taken(part.audio.table.duration, part.rows) for part in parts])))
    holes = _holes(at, usual)
    payload = silent_packet(config, usual) if len(holes) else None
    if payload is not None:
        first = spool.append(payload * REPEATS)
        files = (*files, spool.path)
        at = np.append(at, holes)
        sizes = np.append(sizes, np.full(len(holes), len(payload)))
        offsets = np.append(offsets, first + np.arange(len(holes)) % REPEATS * len(payload))
        sources = np.append(sources, np.full(len(holes), len(files) - 1))
        order = np.argsort(at, kind="stable")
        at, sizes, offsets, sources = at[order], sizes[order], offsets[order], sources[order]
    durations = np.append(np.diff(at), usual)
    table = SampleTable(at, at, durations, sizes, np.ones(len(at), np.bool_), offsets, sources, files)
    return MovieTrack(replace(config, track_id=AUDIO_TRACK), table)


def _holes(at: Int64s, usual: int) -> Int64s:
    """Return the times of missing packets, such that a count of the packets stays within half of one of the clock."""
    times: list[Int64s] = []
    if at[0] > 0:  # the first may begin before 0, so that all have full length
        times.append(at[0] - usual * np.arange(-(-int(at[0]) // usual), 0, -1))
    steps = np.diff(at)
    ahead = 0
    for index in np.flatnonzero(steps != usual).tolist():
        ahead += int(steps[index]) - usual
        count = (ahead + usual // 2) // usual
        room = (int(steps[index]) - 1) // usual
        if min(count, room) > 0:
            count = min(count, room)
            times.append(at[index] + usual * np.arange(1, count + 1))
            ahead -= count * usual
    return np.concatenate(times) if times else np.zeros(0, np.int64)
