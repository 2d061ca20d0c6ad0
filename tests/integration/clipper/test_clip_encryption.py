"""Clips that come out encrypted: any player with their key reads them, nobody without it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from services.clipper.cutting import cut_exact, cut_fast, plan_cut
from services.clipper.movie.encrypt import encrypt_movie
from services.clipper.movie.sample_places import places_of
from services.clipper.writing import written
from shared.media.cenc.clear import read_infos
from shared.media.cenc.key import ContentKey
from shared.media.mp4.boxes import Mp4Error, children, need
from shared.media.mp4.init import parse_init
from shared.media.seams.errors import CutError, Stopped
from shared.messages.clips import ENCRYPTION_PURPOSE, ClipEncryption
from shared.messages.images import ImageWish
from shared.security.secrets import Vault
from tests.support.clipper_desk import desk, serving
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.sealed import play_sealed, shows
from tests.support.shared_bus import SECRET, send

KEY = ContentKey(bytes(range(16)), bytes(range(100, 116)))
SPECS = {
    "h264": Spec(seconds=Fraction(5)),
    "hevc, opus": Spec(codec="hevc", audio="opus", seconds=Fraction(5)),
    "slices": Spec(encoder="slices=4", seconds=Fraction(4)),
    "no sound": Spec(audio=None, seconds=Fraction(4)),
}


@pytest.fixture(scope="module", params=SPECS)
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(SPECS[request.param], tmp_path_factory.mktemp("recorded"))


def secrets_in(movie: Path) -> list[bytes]:
    """Return the ends of the samples of some length of a clear file."""
    data = movie.read_bytes()
    return [data[at : at + size][-24:] for at, size in samples_of(data) if size >= 100]


def samples_of(data: bytes) -> Iterator[tuple[int, int]]:
    moov = need(data, None, b"moov")
    for trak in (box for box in children(data, moov.body, moov.end) if box.kind == b"trak"):
        places = places_of(data, need(data, trak, b"mdia", b"minf", b"stbl"))
        yield from zip(places.offset.tolist(), places.size.tolist(), strict=True)


@pytest.mark.parametrize("exact", [False, True])
def test_a_player_with_the_key_reads_what_was_cut(recording: Recording, tmp_path: Path, exact: bool) -> None:
    plan = plan_cut(recording.source(), Fraction(1, 2), Fraction(3))
    clear, out = tmp_path / "clear.mp4", tmp_path / "out.mp4"
    result = (cut_exact if exact else cut_fast)(plan, clear)
    made = encrypt_movie(clear, out, KEY)
    assert made.bytes == out.stat().st_size
    sound = recording.spec.audio is not None
    seen = play_sealed(out, KEY.key.hex(), sound=sound)
    assert seen == play_sealed(clear, "", sound=sound)
    assert (len(seen[0]), seen[1]) == (result.frames, "")
    secrets = secrets_in(clear)
    assert shows(clear.read_bytes(), secrets) == len(secrets) > 20
    assert not shows(out.read_bytes(), secrets)
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".pcm") == ["clear.mp4", "out.mp4"]


def test_what_is_said_of_samples_is_right(recording: Recording, tmp_path: Path) -> None:
    clear, out = tmp_path / "clear.mp4", tmp_path / "out.mp4"
    cut_exact(plan_cut(recording.source(), Fraction(1, 2), Fraction(3)), clear)
    encrypt_movie(clear, out, KEY)
    data = out.read_bytes()
    assert {track.kid for track in parse_init(data)} == {KEY.kid}
    assert parse_init(data) == parse_init(clear.read_bytes())
    seen: list[bytes] = []
    moov = need(data, None, b"moov")
    for trak in (box for box in children(data, moov.body, moov.end) if box.kind == b"trak"):
        table = need(data, trak, b"mdia", b"minf", b"stbl")
        senc, saiz, saio = (need(data, table, kind) for kind in (b"senc", b"saiz", b"saio"))
        infos, sizes = list(read_infos(data, senc)), places_of(data, table).size.tolist()
        assert len(infos) == len(sizes) == int.from_bytes(data[saiz.body + 5 : saiz.body + 9], "big")
        assert int.from_bytes(data[saio.body + 8 : saio.body + 12], "big") == senc.body + 8
        assert all(parts is None or sum(map(sum, parts)) == size for (_, parts), size in zip(infos, sizes, strict=True))
        seen += [iv for iv, _ in infos]
    assert len(set(seen)) == len(seen)
    again = tmp_path / "again.mp4"
    encrypt_movie(clear, again, KEY)
    assert again.read_bytes() != data  # other IVs: the key may be that of many clips


def test_a_stop_and_a_foreign_file_leave_nothing(recording: Recording, tmp_path: Path) -> None:
    plan, stop = plan_cut(recording.source(), Fraction(0), Fraction(2)), threading.Event()

    def cut(out: Path) -> object:
        result = cut_fast(plan, out)
        stop.set()
        return result

    with pytest.raises(Stopped):
        written(tmp_path / "clip.mp4", KEY, stop, cut)  # type: ignore[arg-type]
    with pytest.raises(CutError):
        written(tmp_path / "clip.mp4", KEY, threading.Event(), lambda out: out.write_bytes(b"no movie"))  # type: ignore[arg-type,return-value]
    assert not list(tmp_path.iterdir())
    foreign = tmp_path / "foreign.mp4"
    foreign.write_bytes(recording.init.read_bytes())
    with pytest.raises(Mp4Error):
        encrypt_movie(foreign, tmp_path / "out.mp4", KEY)


async def test_a_clip_is_delivered_encrypted_with_clear_images(nats: NatsServer, tmp_path: Path) -> None:
    made = record(Spec(seconds=Fraction(6)), tmp_path / "made")
    sealed = Vault(SECRET.encode()).encrypt(KEY.key.hex(), ENCRYPTION_PURPOSE)
    async with desk(nats, tmp_path) as at, serving(at):
        segments = at.session(made)
        await at.job("finished")
        await at.publishing(segments, ended=True)
        await at.announce(segments)
        order = at.order(
            1, 5, encryption=ClipEncryption(kid=KEY.kid.hex(), key=sealed),
            images=(ImageWish(kind="poster", format="png", at_us=1_000_000),),
        )  # fmt: skip
        await send(at.js, order)
        clip = await at.ended(order.clip)
        assert (clip.state, clip.error) == ("finished", "")
        assert clip.file is not None
        seen = play_sealed(at.file(order.clip), KEY.key.hex())
        assert (seen[0], seen[1]) == (list(range(30, 150)), "")
        assert clip.file.bytes == at.file(order.clip).stat().st_size

        async def pictured() -> bool:
            found = await at.record(order.clip)
            return bool(found and found.images and found.images[0].state != "waiting")

        await until(pictured)
        found = await at.record(order.clip)
        assert found is not None
        assert (found.images[0].state, found.images[0].error) == ("ready", "")
        names = sorted(path.name for path in at.store.path(clip.file.key).parent.iterdir())
        assert names == ["frame.mp4", "poster.png"]


async def test_a_clip_whose_key_cannot_be_read_fails_and_says_so(nats: NatsServer, tmp_path: Path) -> None:
    made = record(Spec(seconds=Fraction(3)), tmp_path / "made")
    sealed = Vault(b"another").encrypt(KEY.key.hex(), ENCRYPTION_PURPOSE)
    async with desk(nats, tmp_path) as at, serving(at, "clipper"):
        segments = at.session(made)
        await at.job("finished")
        await at.publishing(segments, ended=True)
        await at.announce(segments)
        order = at.order(0, 2, encryption=ClipEncryption(kid=KEY.kid.hex(), key=sealed))
        await send(at.js, order)

        async def failed() -> str:
            found = await at.record(order.clip)
            return found.error if found and found.state == "failed" else ""

        assert "key cannot be read" in await until(failed)
