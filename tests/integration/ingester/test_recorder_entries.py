"""Where a decoder can enter: IDR and IRAP pictures, and recovery points, whatever the container's flags say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from services.gateway.delivery.index.entries import IndexEntry, entry_of
from services.ingester.publication import Frame
from services.ingester.recorder.recover import recover
from shared.messages.media import IndexedSegment
from tests.support import media_flv as flv
from tests.support import media_streams as media
from tests.support.media_recording import Recorded, frames_of, pieces, undated
from tests.support.recordings import Session, new_event
from tests.support.ts_layouts import LAYOUTS
from tests.support.ts_mux import coded, mux

CONTAINER = {"flv": "flv", "ts": "mpegts"}
X264, X265 = ("-c:v", "libx264", "-preset", "veryfast"), ("-c:v", "libx265", "-preset", "ultrafast")
CODINGS: dict[str, tuple[tuple[str, ...], bool]] = {
    "idr": ((*X264, "-bf", "2"), True),
    "open": ((*X264, "-bf", "2", "-x264-params", "open-gop=1"), False),
    "refresh": ((*X264, "-bf", "0", "-x264-params", "intra-refresh=1"), False),
    "hevc": ((*X265, "-x265-params", "log-level=error:open-gop=0"), True),
    "hevc-deep": (("-c:v", "libx265", "-x265-params", "log-level=error:open-gop=0:bframes=8:rc-lookahead=20"), True),
    "hevc-open": ((*X265, "-bf", "3", "-x265-params", "log-level=error:open-gop=1:bframes=3"), True),
    "hevc-refresh": ((*X265, "-x265-params", "log-level=error:intra-refresh=1:bframes=0"), False),
}
SECONDS = 6


RECOVERY = bytes.fromhex("4e010602d060")  # recovery_poc_cnt 24, an exact match


def marked(path: Path) -> bytes:
    """Put recovery points before each refresh of an HEVC stream, which x265 does not."""
    if path.suffix == ".flv":
        count, out = 0, []
        for tag in flv.split(path.read_bytes()):
            body = tag.body
            if tag.kind == flv.VIDEO and body[0] & 15 in (1, 3):
                at = 5 + 3 * (body[0] & 15 == 1)
                mark = len(RECOVERY).to_bytes(4, "big") + RECOVERY
                body = body if count % 25 else body[:at] + mark + body[at:]
                count += 1
            out.append(tag._replace(body=body))
        return flv.join(out, 1)
    copy = path.with_suffix(".mp4")
    media.run("-v", "error", "-i", path, "-c", "copy", copy)
    units = coded(copy, "hevc")
    refreshed = [u._replace(nals=(u.nals[0], RECOVERY, *u.nals[1:])) if n % 25 == 0 else u for n, u in enumerate(units)]
    return bytes(mux("hevc", LAYOUTS["one"](refreshed)))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    folder = tmp_path_factory.mktemp("entries")

    def source(coding: str, suffix: str) -> Path:
        path = folder / f"{coding}.{suffix}"
        if not path.exists():
            picture = f"testsrc2=size=320x192:rate=25:duration={SECONDS}"
            keys = ("-g", "25", "-keyint_min", "25", "-sc_threshold", "0", "-threads", "1")
            media.run(
                "-v", "error", "-f", "lavfi", "-i", picture, *CODINGS[coding][0], "-pix_fmt", "yuv420p", *keys, path
            )
            if coding == "hevc-refresh":
                path.write_bytes(marked(path))
        return path

    return source


def entries(recorded: Recorded) -> list[IndexEntry]:
    """What the index holds of the segments."""
    session = Session(new_event())
    made = []
    for number, info in enumerate(recorded.segments):
        written = session.segment(
            info.sequence, start=info.start, duration=info.duration, keyframes=info.keyframes,
            independent=info.independent)  # fmt: skip
        made.append(entry_of(IndexedSegment(log=number + 1, number=number, segment=written)))
    return made


@pytest.mark.parametrize("suffix", ["flv", "ts"])
@pytest.mark.parametrize("coding", CODINGS)
def test_segments_begin_at_entries_and_say_whether_they_are_independent(
    sources: Callable[[str, str], Path], coding: str, suffix: str, tmp_path: Path
) -> None:
    recorded = Recorded(tmp_path)
    summary = recorded.run(CONTAINER[suffix], pieces(sources(coding, suffix).read_bytes(), 1316))
    assert summary.damaged == 0
    assert len(recorded.segments) == 3
    assert all(abs(s.duration - 180_000) <= 27_000 for s in recorded.segments), "the first one is no longer than others"
    assert all(len(s.keyframes) == 2 for s in recorded.segments)
    clean = CODINGS[coding][1]
    assert [s.independent for s in recorded.segments] == [True, clean, clean], "an encoder begins with an IDR picture"
    assert [e.independent for e in entries(recorded)] == [True, clean, clean]
    assert undated(recover(recorded.folder)) == undated(recorded.segments)


@pytest.mark.parametrize("suffix", ["flv", "ts"])
@pytest.mark.parametrize("coding", ["refresh", "hevc-refresh", "open"])
def test_who_joins_late_is_recorded_from_the_next_recovery_point(
    sources: Callable[[str, str], Path], coding: str, suffix: str, tmp_path: Path
) -> None:
    data = sources(coding, suffix).read_bytes()
    if suffix == "flv":
        tags = flv.split(data)
        first = next(n for n, tag in enumerate(tags) if tag.kind == flv.VIDEO and not tag.is_config and tag.time > 300)
        late = flv.join([*(t for t in tags[:first] if t.is_config), *tags[first:]], 1)
    else:
        size = len(data) // 188
        late = data[: 188 * 3] + data[188 * (size // SECONDS // 2) :]
    recorded = Recorded(tmp_path)
    recorded.run(CONTAINER[suffix], pieces(late, 1316))
    whole = sum(s.duration for s in recorded.segments)
    assert 4.7 * 90_000 < whole < 5.3 * 90_000
    assert not any(s.independent for s in recorded.segments)
    made, wanted = (media.frame_hashes(p) for p in (recorded.joined(), sources(coding, suffix)))
    assert [h for _, h in made][50:] == [h for _, h in wanted][len(wanted) - len(made) + 50 :], "right after a while"


def video(kind: str, data: bytes) -> list[Frame]:
    return [f for batch in frames_of(kind, [data]) for f in batch.frames if f.config.kind == "video"]


@pytest.mark.parametrize("coding", CODINGS)
def test_the_container_s_own_key_flag_says_nothing(sources: Callable[[str, str], Path], coding: str) -> None:
    tags = flv.split(sources(coding, "flv").read_bytes())
    wanted = [(f.sync, f.clean) for f in video("mpegts", sources(coding, "ts").read_bytes())]
    assert sum(sync for sync, _ in wanted) == SECONDS
    for flag in (1, 2):
        changed = [
            tag if tag.kind != flv.VIDEO or tag.is_config else tag._replace(
                body=bytes((tag.body[0] & 0x8F | flag << 4,)) + tag.body[1:])
            for tag in tags
        ]  # fmt: skip
        assert [(f.sync, f.clean) for f in video("flv", flv.join(changed, 1))] == wanted
