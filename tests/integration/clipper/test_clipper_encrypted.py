"""Clips of encrypted recordings are those of clear ones, bit for bit; without the key they say why there are none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper.cutting import cut_exact, cut_fast, plan_cut
from services.clipper.cutting.verify import verify_clip
from services.clipper.open_files import OpenFiles
from services.clipper.sealed_path import SealedPath
from shared.errors import Rejected
from shared.media.seams.errors import SegmentUnreadable
from shared.messages.media import SegmentWritten
from shared.security.content_keys import ContentKeys
from shared.security.secrets import Vault
from tests.support.clipper_desk import Desk, check, desk, serving
from tests.support.framecode_record import Spec
from tests.support.media_recording import Recorded
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.sealed import (
    FOLDER,
    KEYS,
    folder_of_event,
    payloads_of,
    record_twice,
    secrets_of,
    shows,
    source_of,
    stored,
)
from tests.support.shared_bus import SECRET, send

SPECS = {
    "h264 by flv": (Spec(seconds=Fraction(5), stamps="90k"), "flv"),
    "vp9, mp3": (Spec(codec="vp9", audio="mp3", seconds=Fraction(5)), "flv"),
    "hevc, opus": (Spec(codec="hevc", seconds=Fraction(5), audio="opus"), "mpegts"),
}
RANGES = [(Fraction(1, 2), Fraction(9, 2)), (Fraction(2), Fraction(4)), (Fraction(31, 30), Fraction(32, 30))]
NEW, OLD = b"the new master of tests, long", SECRET.encode()


@pytest.fixture(scope="module", params=SPECS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    spec, kind = SPECS[request.param]
    return record_twice(spec, tmp_path_factory.mktemp("both"), kind)


@pytest.mark.parametrize(("start", "end"), RANGES)
def test_clips_are_the_same_to_the_bit(both: list[Recorded], tmp_path: Path, start: Fraction, end: Fraction) -> None:
    made: dict[str, list[bytes]] = {"fast": [], "exact": []}
    for number, recorded in enumerate(both):
        plan = plan_cut(source_of(recorded), start, end)
        fast = cut_fast(plan, tmp_path / f"fast-{number}.mp4")
        exact = cut_exact(plan, tmp_path / f"exact-{number}.mp4")
        verify_clip(exact, plan)
        made["fast"].append(fast.path.read_bytes())
        made["exact"].append(exact.path.read_bytes())
    assert made["fast"][0] == made["fast"][1]
    assert made["exact"][0] == made["exact"][1]
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".mp4"] * 4


def test_a_rotated_master_is_found_among_the_older_ones(both: list[Recorded], tmp_path: Path) -> None:
    rotated = ContentKeys(Vault(NEW, [b"another", OLD]))
    plan = plan_cut(source_of(both[1], rotated), Fraction(1), Fraction(3))
    cut_exact(plan, tmp_path / "clip.mp4")
    assert rotated.fresh(FOLDER) != KEYS.fresh(FOLDER)
    with pytest.raises(Rejected, match="another SECRET_KEY"):
        source_of(both[1], ContentKeys(Vault(NEW)))
    with pytest.raises(Rejected, match="encrypted"):
        source_of(both[1], None)
    source_of(both[0], None)


def test_ranges_of_an_encrypted_file_are_read_as_of_a_clear_one(both: list[Recorded]) -> None:
    info = both[1].segments[0]
    sealed = SealedPath(info.path)
    with OpenFiles(2) as files, pytest.raises(SegmentUnreadable):
        files.read(sealed, 10, 0)
    sealed.key = KEYS.fresh(FOLDER)
    clear, samples = sealed.clear(), payloads_of(both[0].segments[0].path)
    room = memoryview(bytearray(1000))
    with OpenFiles(2) as files:
        assert files.read(sealed, 500, 300) == clear[300:800]
        assert files.into(sealed, room, len(clear) - 400) == 400
        assert files.read(sealed, 100, len(clear) + 5) == b""
    assert bytes(room[:400]) == clear[-400:]
    assert all(sample in clear for sample in samples)


@pytest.fixture
async def at(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(nats, tmp_path) as made:
        yield made


async def published(at: Desk, segments: Sequence[SegmentWritten]) -> None:
    await at.job("finished")
    await at.publishing(segments, ended=True)
    await at.announce(segments)


async def test_a_clip_comes_out_clear_and_leaves_the_recording_encrypted(at: Desk, tmp_path: Path) -> None:
    clear, sealed = record_twice(Spec(seconds=Fraction(6)), tmp_path, key=KEYS.fresh(folder_of_event(at.event)))
    await published(at, stored(sealed, at.store, at.event, begun_ms=at.begun_ms))
    order = at.order(1, 5)
    async with serving(at):
        await send(at.js, order)
        record = await at.ended(order.clip)
        file = await check(at, record, list(range(30, 150)))
    assert file.method == "smart"
    secrets = secrets_of(clear)
    assert shows(at.store.path(file.key).read_bytes(), secrets)
    for path in (at.settings.media_dir / "live").rglob("*"):
        assert path.is_dir() or not shows(path.read_bytes(), secrets)


async def test_without_the_key_a_clip_fails_and_says_why(at: Desk, tmp_path: Path) -> None:
    key = ContentKeys(Vault(NEW)).fresh(folder_of_event(at.event))
    _, sealed = record_twice(Spec(seconds=Fraction(3)), tmp_path, key=key)
    await published(at, stored(sealed, at.store, at.event, begun_ms=at.begun_ms))
    order = at.order(0, 2)
    async with serving(at, "clipper"):
        await send(at.js, order)

        async def failed() -> str:
            record = await at.record(order.clip)
            return record.error if record and record.state == "failed" else ""

        assert "another SECRET_KEY" in await until(failed)
