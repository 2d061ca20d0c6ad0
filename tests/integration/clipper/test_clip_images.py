"""Posters and thumbnails beside a clip's file: made with it, whatever happens in between, and removed with it."""

from __future__ import annotations

import asyncio
import io
import threading
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import pytest

from services.clipper import watching
from services.clipper.images import work as images
from shared.broker import middleware
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.messages.clips import ClipDelete, ClipPicture, ClipRecord
from shared.messages.images import ClipImage, ImageWish
from shared.runtime.clock import SystemClock
from shared.store.local import LocalStore
from tests.support.clipper_desk import ACCOUNT, Desk, desk, frames, serving
from tests.support.framecode import play, read_number
from tests.support.framecode_record import Recording, Spec, record
from tests.support.nats import NatsServer
from tests.support.recordings import until
from tests.support.shared_bus import idle, send

POSTER = ImageWish(kind="poster", at_us=1_500_000)
SMALL = ImageWish(kind="thumbnail", width=160, format="webp")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(Spec(), tmp_path_factory.mktemp("recording"))


def number(path: Path) -> int:
    with av.open(io.BytesIO(path.read_bytes())) as container:
        return read_number(next(container.decode(video=0)).to_ndarray(format="gray"))


async def drawn(at: Desk, clip: str) -> ClipRecord:
    """Wait until a clip's images are made, or not to be made: that may come after its end. Return the record."""

    async def over() -> ClipRecord | None:
        record = await at.record(clip)
        return record if record and all(image.state != "waiting" for image in record.images) else None

    return cast("ClipRecord", await until(over))


async def finished(at: Desk, *wishes: ImageWish, **more: Any) -> ClipRecord:
    order = at.order(1, 5, images=wishes, **more)
    await send(at.js, order)
    ended = await at.ended(order.clip)
    assert (ended.state, ended.error) == ("finished", "")
    assert play(at.file(order.clip)).numbers == frames(1, 5)

    return await drawn(at, order.clip)


async def test_images_are_made_of_the_exact_file_and_go_with_the_clip(
    nats: NatsServer, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    borrowed, local = [], LocalStore.local
    monkeypatch.setattr(LocalStore, "local", lambda self, key: borrowed.append(key) or local(self, key))
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(recording))
        ended = await finished(at, POSTER, SMALL)
        assert sum(key.endswith("/frame.mp4") for key in borrowed) == 2, "for the library, and for both images"
        poster, small = ended.images
        assert (poster.state, poster.width, poster.height, poster.at_us) == ("ready", 320, 180, 1_500_000)
        assert (small.state, small.width, small.height, small.format) == ("ready", 160, 90, "webp")
        folder = at.store.path(f"clips/{ACCOUNT}/{ended.clip}")
        assert sorted(path.name for path in folder.iterdir()) == ["frame.mp4", "poster.jpg", "thumbnail.webp"]
        assert number(folder / "poster.jpg") == 75  # 1.5 s into a clip that begins with frame 30
        assert [(folder / name).stat().st_size for name in ("poster.jpg", "thumbnail.webp")] == [
            poster.bytes, small.bytes,
        ]  # fmt: skip
        before = (folder / "poster.jpg").stat().st_mtime_ns
        sequence = await send(at.js, ClipPicture(account=ACCOUNT, clip=ended.clip), times=2)
        await until(lambda: idle(at.js, "clipper-picture", sequence))
        assert (folder / "poster.jpg").stat().st_mtime_ns == before
        await send(at.js, ClipDelete(account=ACCOUNT, clip=ended.clip, at_ms=SystemClock().now_ms()))

        async def gone() -> bool:
            return await at.record(ended.clip) is None

        await until(gone)
        assert not list(folder.glob("*"))


async def test_an_image_that_fails_fails_no_clip(
    nats: NatsServer, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = images.encode_image

    def broken(pixels: Any, form: Any, quality: int) -> bytes:
        if form == "webp":
            raise ValueError("no such encoder")
        return encode(pixels, form, quality)

    monkeypatch.setattr(images, "encode_image", broken)
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(recording))
        poster, small = (await finished(at, SMALL, POSTER)).images
        assert (poster.state, small.state, small.error) == ("ready", "failed", "no such encoder")


@pytest.mark.parametrize(("tries", "state"), [(1, "ready"), (2, "failed")])
async def test_a_clipper_that_died_at_an_image_tries_it_again_but_not_for_ever(
    nats: NatsServer, tmp_path: Path, recording: Recording, tries: int, state: str
) -> None:
    """As a killed clipper leaves it: the exact file is there, and the image has been begun."""
    async with desk(nats, tmp_path) as at:
        await at.announce(at.session(recording))
        order = at.order(1, 5, images=(POSTER,))
        async with serving(at, "clipper"):
            await send(at.js, order)

            async def made() -> ClipRecord | None:
                found = await at.record(order.clip)
                return found if found and found.images and found.images[0].state == "ready" else None

            await until(made)
            await until(lambda: idle(at.js, "clipper-picture"))
        begun = ClipImage(kind="poster", format="jpeg", tries=tries)
        bucket = Bucket(lambda: at.js, "clips", ClipRecord)
        await bucket.change(f"{ACCOUNT}.{order.clip}", lambda r: r and r.model_copy(update={"images": (begun,)}))
        async with serving(at, "clipper"):
            await send(at.js, ClipPicture(account=ACCOUNT, clip=order.clip), dedup=False)

            async def over() -> ClipRecord | None:
                found = await at.record(order.clip)
                return found if found and found.images[0].state != "waiting" else None

            found: ClipRecord = await until(over)
            assert (found.images[0].state, found.state) == (state, "processing")
        async with serving(at):
            assert (await at.ended(order.clip)).state == "finished"


async def test_images_hold_no_clip_up_and_an_outage_takes_no_try(
    nats: NatsServer, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clip is delivered and finished before its images: the store takes none of them, for longer than all tries."""
    monkeypatch.setattr(images, "AWAY", timedelta(milliseconds=20))
    monkeypatch.setattr(middleware, "backoff", lambda _tries: timedelta(milliseconds=20))
    real, away, calls = LocalStore.put, threading.Event(), []

    def put(self: LocalStore, key: str, data: bytes) -> None:
        if key.endswith((".jpg", ".webp")):
            calls.append(key)
            if not away.is_set():
                raise Unavailable("the store does not answer")
        real(self, key, data)

    monkeypatch.setattr(LocalStore, "put", put)
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(recording))
        order = at.order(1, 5, images=(POSTER, SMALL))
        await send(at.js, order)

        async def over() -> ClipRecord | None:
            found = await at.record(order.clip)
            return found if found and found.state == "finished" and len(calls) > 10 else None

        waits: ClipRecord = await until(over)
        assert {image.state for image in waits.images} == {"waiting"}
        away.set()

        async def ready() -> bool:
            found = await at.record(order.clip)
            return found is not None and [image.state for image in found.images] == ["ready", "ready"]

        await until(ready)
        assert (await at.told(order.clip)).count("finished") == 1


async def test_a_clipper_that_stops_gives_its_image_back(
    nats: NatsServer, tmp_path: Path, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More often than an image may be tried."""
    monkeypatch.setattr(watching, "LOOK", timedelta(milliseconds=20))
    real, begun = images.find_frame, threading.Event()

    def slow(path: Path, moment: Fraction | None, stop: threading.Event, key: bytes | None) -> Any:
        begun.set()
        stop.wait(60)
        return real(path, moment, stop, key)

    monkeypatch.setattr(images, "find_frame", slow)
    async with desk(nats, tmp_path) as at:
        await at.announce(at.session(recording))
        order = at.order(1, 5, images=(POSTER,))
        await send(at.js, order)
        for _ in range(3):
            begun.clear()
            async with serving(at):
                assert await asyncio.to_thread(begun.wait, 60)
        monkeypatch.setattr(images, "find_frame", real)
        async with serving(at):

            async def is_ready() -> bool:  # some images are made after the clip's end
                record = await at.record(order.clip)
                return record is not None and bool(record.images) and record.images[0].state == "ready"

            await until(is_ready)


async def test_a_clip_of_one_frame_has_an_image(nats: NatsServer, tmp_path: Path, recording: Recording) -> None:
    async with desk(nats, tmp_path) as at, serving(at):
        await at.announce(at.session(recording))
        order = at.order(Fraction(1), Fraction(31, 30), images=(ImageWish(kind="poster"),))
        await send(at.js, order)
        await at.ended(order.clip)
        assert (await drawn(at, order.clip)).images[0].state == "ready"
        assert number(at.store.path(f"clips/{ACCOUNT}/{order.clip}/poster.jpg")) == 30
