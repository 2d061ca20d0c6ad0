"""MP4 files of many kinds, and what is read from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from services.restreamer.model import FLICKS, Kind, Packet, SourceError, Track
from services.restreamer.sources.containers.demux import Demuxer
from services.restreamer.sources.containers.file_media import FileMedia
from services.restreamer.sources.frames import Demux
from services.restreamer.sources.mp4.demux import mp4_or
from services.restreamer.sources.origins.files import LocalFile
from tests.support.media_streams import encode, run

ours = mp4_or(Demuxer)
B: Final = "h264-b"
FILES: Final[dict[str, dict[str, Any]]] = {
    "plain": {"video": B},
    "faststart": {"video": B, "more": ("-movflags", "faststart")},
    "negative offsets": {"video": B, "more": ("-movflags", "negative_cts_offsets")},
    "without edit lists": {"video": B, "more": ("-use_editlist", "0")},
    "without sound": {"video": B, "audio": None},
    "without reordering": {"video": "h264"},
    "29.97": {"video": B, "rate": "30000/1001"},
    "an odd timescale": {"video": B, "more": ("-video_track_timescale", "99991")},
    "a coarse timescale": {"video": B, "rate": "25", "more": ("-video_track_timescale", "25")},
    "44.1 kHz": {"video": B, "more": ("-ar", "44100")},
    "open GOPs": {"video": B, "more": ("-x264-params", "open-gop=1:bframes=2")},
    "intra refresh": {"video": "h264", "more": ("-x264-params", "intra-refresh=1")},
    "SEI and delimiters": {
        "video": B, "more": ("-x264-params", "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:aud=1"),
    },
    "slices": {"video": "h264", "more": ("-x264-params", "slices=4")},
    "variable rate": {
        "video": B, "more": ("-vf", "select='not(mod(n,7))+not(mod(n,3))+lt(n,20)'", "-fps_mode", "vfr"),
    },
    "sound ends early": {"video": B, "more": ("-af", "atrim=0:2.2")},
    "sound goes on": {"video": B, "more": ("-vf", "trim=0:2.8")},
    "a movie's own timescale": {"video": B, "more": ("-movie_timescale", "48000")},
    "4:2:2": {"video": B, "more": ("-pix_fmt", "yuv422p")},
}  # fmt: skip
COPIES: Final[dict[str, tuple[str, ...]]] = {
    "sound comes late": ("-i", "{plain}", "-itsoffset", "1.3", "-i", "{plain}", "-map", "0:v", "-map", "1:a"),
    "pictures come late": ("-itsoffset", "0.7", "-i", "{plain}", "-i", "{plain}", "-map", "0:v", "-map", "1:a"),
    "sound comes far later": ("-i", "{plain}", "-itsoffset", "12", "-i", "{plain}", "-map", "0:v", "-map", "1:a"),
    "several sounds": ("-i", "{plain}", "-i", "{44.1 kHz}", "-map", "1:a", "-map", "0:v", "-map", "0:a"),
    "cut between keyframes": ("-ss", "1.4", "-i", "{plain}", "-map", "0"),
    "rotated": ("-display_rotation", "90", "-i", "{plain}", "-map", "0"),
    "avc3": ("-i", "{plain}", "-map", "0", "-tag:v", "avc3"),
    "not interleaved": ("-i", "{plain}", "-map", "0", "-max_interleave_delta", "1", "-chunk_duration", "3000000"),
    "a cover": ("-i", "{plain}", "-i", "{picture}", "-map", "0", "-map", "1", "-disposition:v:1", "attached_pic"),
    "QuickTime": ("-i", "{plain}", "-map", "0", "-f", "mov"),
}
ODD: Final[dict[str, tuple[str, ...]]] = {
    "fragmented": ("-i", "{plain}", "-map", "0", "-movflags", "frag_keyframe+empty_moov"),
    "fragmented behind a moov": ("-i", "{plain}", "-map", "0", "-movflags", "frag_keyframe"),
    "two videos, HEVC first": ("-i", "{HEVC}", "-i", "{plain}", "-map", "0:v", "-map", "1:v", "-map", "1:a"),
    "sound alone": ("-i", "{plain}", "-map", "0:a"),
    "PCM": ("-i", "{plain}", "-map", "0", "-c:a", "pcm_s16le", "-f", "mov"),
    "HEVC": ("-i", "{HEVC}", "-map", "0"),
    "MP3": ("-i", "{plain}", "-map", "0", "-c:a", "libmp3lame"),
    "encrypted": (
        "-i", "{plain}", "-map", "0", "-encryption_scheme", "cenc-aes-ctr",
        "-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8",
    ),
}  # fmt: skip
Film = Callable[[str], Path]


def film_maker(folder: Path) -> Film:
    """Return a function that makes films in a folder, each once, and returns their paths."""
    made: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name in made:
            return made[name]
        path = made[name] = folder / f"{len(made)}{'.png' if name == 'picture' else '.mp4'}"
        options: dict[str, object] = {"size": "160x96", "seconds": 4, "gop": 25}
        if name == "picture":
            run("-v", "error", "-f", "lavfi", "-i", "color=size=64x64", "-frames:v", "1", path)
        elif name == "HEVC":
            encode(path, video="hevc", size="160x96", seconds=2)
        elif name in FILES:
            encode(path, **options | FILES[name])
        else:
            words = (COPIES | ODD)[name]
            given = [str(make(word[1:-1])) if word.startswith("{") else word for word in words]
            codecs = ("-c", "copy") if "-c:a" not in words else ("-c:v", "copy")
            run("-v", "error", *given, *codecs, "-flags", "+bitexact", path)
        return path

    return make


Read = tuple[Track | None, Track | None, list[Packet], str]


@dataclass
class Seen:
    """What is read from a file: its description, its packets from several times on, and why it ends."""

    about: list[object] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    why: str = ""


def seen(path: Path, demux: Demux, starts: tuple[float, ...] = (0,)) -> Seen:
    """Read a file from each time on, one after the other."""
    try:
        media = FileMedia(LocalFile(os.open(path, os.O_RDONLY)), "mp4", demux=demux)
    except SourceError as error:
        return Seen(why=str(error))
    try:
        found = Seen([media.video, media.audio, media.duration, media.zero, media.cover, media.wall_start_ms])
        for start in starts:
            packets, why = list[Packet](), ""
            try:
                packets += media.packets(round(start * FLICKS))
            except SourceError as error:
                why = str(error)
            found.reads.append((media.video, media.audio, packets, why))
        return found
    finally:
        media.close()


TIMES: Final = (0, 0.02, 0.8, 0.83, 0.84, 1.2, 1.65, 1.667, 2.49, 2.5, 2.57, 3.33, 3.34, 3.9, 5, -1)


def entries(path: Path, demux: Demux, times: tuple[float, ...] = TIMES) -> list[object]:
    """Return the first frame of each track after seeking."""
    found: list[object] = []
    for time in times:
        file = LocalFile(os.open(path, os.O_RDONLY))
        demuxer = demux(file, "mp4")
        next(demuxer.frames())
        first: dict[Kind, tuple[int | None, int, bool]] = {}
        assert demuxer.seek(round(time * FLICKS))
        for raw in demuxer.frames():
            first.setdefault(raw.kind, (raw.dts, raw.pts, raw.key))
            if len(first) == demuxer.has_video + demuxer.has_audio:
                break
        found.append((time, first))
        demuxer.close()
        file.close()
    return found
