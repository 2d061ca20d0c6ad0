"""A stream recorded twice: clear, and encrypted under a key of the installation's."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from services.clipper.cutting import CutSource, Run, Segment
from services.clipper.sealed_path import unsealed
from shared.media.bitstream.nal import is_slice, split_sample
from shared.media.cenc.key import ContentKey
from shared.media.mp4.fragments import read_fragments
from shared.media.mp4.init import parse_init
from shared.messages.media import SegmentWritten
from shared.security.content_keys import ContentKeys
from shared.security.secrets import Vault
from shared.store import MediaStore
from tests.support.framecode import HEIGHT, WIDTH, ffmpeg, read_number
from tests.support.framecode_record import Spec, encode
from tests.support.media_recording import START_MS, Recorded, pieces
from tests.support.shared_bus import SECRET

EVENT, SESSION = "e" * 31 + "5", "5" + "e" * 31
FOLDER = f"live/{EVENT}/{SESSION}/primary-1"
KEYS = ContentKeys(Vault(SECRET.encode()))


def record_twice(spec: Spec, root: Path, kind: str = "mpegts", key: ContentKey | None = None) -> list[Recorded]:
    """Return the clear recording and the encrypted one."""
    root.mkdir(parents=True, exist_ok=True)
    source = root / ("source.flv" if kind == "flv" else "source.ts")
    encode(spec, source)
    made = []
    for name, wanted in (("clear", None), ("sealed", key or KEYS.fresh(FOLDER))):
        recorded = Recorded(root / name / FOLDER, key=wanted)
        recorded.run(kind, pieces(source.read_bytes()))
        made.append(recorded)
    return made


def payloads_of(path: Path) -> list[bytes]:
    """Return the samples of a segment as they lie in its file, track after track."""
    data = path.read_bytes()
    found = []
    for _, table in sorted(read_fragments(path).tables.items()):
        found += [data[at : at + size] for at, size in zip(table.offset.tolist(), table.size.tolist(), strict=True)]
    return found


def secrets_of(recorded: Recorded) -> list[bytes]:
    """Return the ends of a clear recording's slices, pictures without any, and sound: of those of some length."""
    found: list[bytes] = []
    for info in recorded.segments:
        data, tables = info.path.read_bytes(), read_fragments(info.path).tables
        configs = {track.track_id: track for track in parse_init(recorded.init(info.init_number).read_bytes())}
        for track, table in tables.items():
            codec = configs[track].codec
            for at, size in zip(table.offset.tolist(), table.size.tolist(), strict=True):
                sample = data[at : at + size]
                if codec == "h264" or codec == "hevc":  # noqa: PLR1714  mypy narrows this one
                    found += [nal for nal in split_sample(sample, 4) if is_slice(codec, nal)]
                else:
                    found.append(sample)
    return [secret[-24:] for secret in found if len(secret) >= 64]


def stored(
    recorded: Recorded, store: MediaStore, event: str = EVENT, account: str = "main", begun_ms: int = START_MS
) -> list[SegmentWritten]:
    """Put a recording into a store as its ingester does, and return what that publishes."""
    found = []
    folder = folder_of_event(event)
    for info in recorded.segments:
        for path in (recorded.init(), info.path):
            store.begin(f"{folder}/{path.name}").write_bytes(path.read_bytes())
        found.append(SegmentWritten(
            account=account, event=event, session=session_of(event), sequence=info.sequence,
            key=f"{folder}/{info.path.name}", init_key=f"{folder}/init-0.mp4", start=info.start, duration=info.duration,
            timescale=info.timescale, origin_ms=0, zero=recorded.segments[0].keyframes[0],
            wall_start_ms=begun_ms + info.start // 90, bytes=info.bytes, sha256=info.sha256, keyframes=info.keyframes,
        ))  # fmt: skip
    return found


def session_of(event: str) -> str:
    """Return the one session of an event."""
    return event[::-1]


def folder_of_event(event: str) -> str:
    """Return where the session of an event lies."""
    return f"live/{event}/{session_of(event)}/primary-1"


def source_of(recorded: Recorded, keys: ContentKeys | None = KEYS) -> CutSource:
    """Return a recording as the source of a clip."""
    segments = tuple(
        Segment(unsealed(info.path, f"{FOLDER}/{info.path.name}", keys.find if keys else None), info.start,
                info.duration)
        for info in recorded.segments
    )  # fmt: skip
    first = recorded.segments[0]
    zero = Fraction(first.keyframes[0] if first.keyframes else 0, first.timescale)
    return CutSource((Run(recorded.init(), segments, -zero, SESSION, int(zero * first.timescale)),))


def play_sealed(path: Path, key: str, *, sound: bool = True) -> tuple[list[int], str, bytes]:
    """Decode a file with ffmpeg and a key: the numbers on its pictures, ffmpeg's warnings, and the sound."""
    decrypt = ["-decryption_key", key] if key else []
    command = [ffmpeg(), "-v", "warning", "-xerror", "-y", *decrypt, "-i", str(path)]
    heard = path.with_suffix(".pcm")
    sounds = ["-map", "0:a:0", "-ac", "1", "-f", "s16le", str(heard)] if sound else []
    done = subprocess.run(
        [*command, "-map", "0:v:0", "-fps_mode", "passthrough", "-s", f"{WIDTH}x{HEIGHT}", "-pix_fmt", "yuv420p",
         "-f", "rawvideo", "pipe:1", *sounds],
        capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    frames = np.frombuffer(done.stdout, np.uint8).reshape(-1, HEIGHT * 3 // 2, WIDTH)
    return [read_number(frame[:HEIGHT]) for frame in frames], done.stderr.decode(), heard.read_bytes() if sound else b""


def shows(data: bytes, secrets: Sequence[bytes]) -> int:
    """Return how many of the secrets can be found in the data."""
    return sum(1 for secret in secrets if re.search(re.escape(secret), data))
