"""The library, clips, buckets and watermarks."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import av
import boto3
import numpy as np
import pytest

from services.restreamer.model import Media, SourceError
from services.restreamer.sources import Access, PictureCache, open_media, open_picture
from shared.broker.kv import Bucket
from shared.messages.clips import ClipCreate, ClipFile, ClipRecord
from shared.messages.credentials import CREDENTIAL_PURPOSE, CredentialRecord, credential_id, credential_key
from shared.messages.ranges import Selection
from shared.store.s3 import S3Store
from tests.support.framecode_record import Spec, encode
from tests.support.nats import NatsServer
from tests.support.recordings import connected
from tests.support.s3 import s3_server
from tests.support.shared_bus import new_id
from tests.support.source_server import Server, source_server
from tests.support.sources import ACCOUNT, VAULT, access_to, numbers, opened, source

ALL = list(range(180))
BUCKET = "films"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    encode(Spec(), path)
    return path


@pytest.fixture(scope="module")
def bucket(film: Path) -> Iterator[str]:
    with s3_server(BUCKET) as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        client.upload_file(str(film), BUCKET, "folder/a film.mp4")
        yield endpoint


@pytest.fixture
def server() -> Iterator[Server]:
    with source_server() as made:
        yield made


def seen(media: Media) -> list[int]:
    try:
        return numbers(media.video, media.packets(0))
    finally:
        media.close()


def test_a_file_of_the_library_is_read_even_when_another_takes_its_name(tmp_path: Path, film: Path) -> None:
    access = access_to(tmp_path)
    folder = access.library / ACCOUNT
    folder.mkdir(parents=True)
    (folder / "film.mp4").write_bytes(film.read_bytes())
    media = opened("library", "film.mp4", access)
    (folder / "new").write_bytes(b"another")
    (folder / "new").replace(folder / "film.mp4")
    assert seen(media) == ALL
    with pytest.raises(SourceError, match="wrong type"):
        opened("library", "film.mp4", access)


def test_nothing_outside_of_the_account_s_library_is_opened(tmp_path: Path, film: Path) -> None:
    access = access_to(tmp_path)
    own, other = access.library / ACCOUNT, access.library / "other"
    own.mkdir(parents=True)
    other.mkdir()
    os.link(film, other / "film.mp4")
    (own / "link.mp4").symlink_to(film)
    (own / "folder").mkdir()
    os.mkfifo(own / "pipe.mp4")
    for name in ("../other/film.mp4", "link.mp4", "folder", "pipe.mp4", "/etc/passwd", ".hidden", "no.mp4", "a\0b", ""):
        with pytest.raises(SourceError, match="no such file"):
            opened("library", name, access)


async def test_a_clip_is_its_current_file_in_either_store(
    nats: NatsServer, tmp_path: Path, film: Path, bucket: str
) -> None:
    async with connected(nats.url) as js:
        access = access_to(tmp_path, js=lambda: js, loop=asyncio.get_running_loop())
        clips = Bucket(lambda: js, "clips", ClipRecord)
        record = clip_record(film)
        with pytest.raises(SourceError, match="no such clip"):
            await asyncio.to_thread(opened, "clip", record.clip, access)
        await clips.create(f"{ACCOUNT}.{record.clip}", record.model_copy(update={"file": None}))
        with pytest.raises(SourceError, match="no file yet") as caught:
            await asyncio.to_thread(opened, "clip", record.clip, access)
        assert not caught.value.lasting
        await clips.change(f"{ACCOUNT}.{record.clip}", lambda _: record)
        assert record.file is not None
        os.link(film, access.store.begin(record.file.key))
        assert await asyncio.to_thread(lambda: seen(opened("clip", record.clip, access))) == ALL
        far = S3Store(boto3.client("s3", endpoint_url=bucket), BUCKET, "", tmp_path / "spool")
        far.put(record.file.key, await asyncio.to_thread(film.read_bytes))
        there = replace(access, store=far)
        assert await asyncio.to_thread(lambda: seen(opened("clip", record.clip, there))) == ALL
        far.delete(record.file.key)
        with pytest.raises(SourceError, match="no longer"):
            await asyncio.to_thread(opened, "clip", record.clip, there)


def clip_record(film: Path) -> ClipRecord:
    clip, event = new_id(), new_id()
    order = ClipCreate.model_validate({
        "account": ACCOUNT, "clip": clip, "event": event, "requested_ms": 0, "live": False, "asked_duration": "6",
        "selection": Selection.model_validate({"clock": "stream", "start": 0, "end": 6}),
        "destinations": ({"export": "c" * 32, "file_name": "a.mp4"},),
    })  # fmt: skip
    file = ClipFile.model_validate({
        "accuracy": "frame", "method": "smart", "key": f"clips/{clip}/frame.mp4", "bytes": film.stat().st_size,
        "in_point": 0, "out_point": 6, "duration": 6, "frames": 180,
    })  # fmt: skip
    return ClipRecord(
        account=ACCOUNT, clip=clip, request=order, state="finished", created_ms=0, changed_ms=0, file=file
    )


async def test_an_object_of_a_user_s_bucket_is_read_with_stored_credentials(
    nats: NatsServer, tmp_path: Path, bucket: str
) -> None:
    async with connected(nats.url) as js:
        access = access_to(tmp_path, js=lambda: js, loop=asyncio.get_running_loop())
        record = CredentialRecord(
            account=ACCOUNT, credential=credential_id("My films"), name="My films", endpoint=bucket,
            public="testing", secret=VAULT.encrypt("testing", CREDENTIAL_PURPOSE), created_ms=0, changed_ms=0,
        )  # fmt: skip
        await Bucket(lambda: js, "credentials", CredentialRecord).create(credential_key(ACCOUNT, "My films"), record)

        def look(place: str, name: str = "My films", through: Access = access) -> list[int]:
            return seen(open_media(source("s3", place, name), through, Event()))

        assert await asyncio.to_thread(look, f"s3://{BUCKET}/folder/a film.mp4") == ALL
        others = Bucket(lambda: js, "credentials", CredentialRecord)
        for made_under, name, kind in (("Once", "Renamed", "s3"), ("Site", "Site", "ftp")):
            fields = {"name": name, "type": kind, "path_style": True, "credential": credential_id(made_under)}
            await others.create(credential_key(ACCOUNT, made_under), record.model_copy(update=fields))
        assert await asyncio.to_thread(look, f"s3://{BUCKET}/folder/a film.mp4", "Renamed") == ALL
        for place, name, text in (
            (f"s3://{BUCKET}/none.mp4", "My films", "not found"),
            (f"s3://{BUCKET}", "My films", "s3://bucket/key"),
            ("s3://[films/a", "My films", "s3://bucket/key"),
            (f"s3://{BUCKET}/folder/a film.mp4", "Others", "do not exist"),
            (f"s3://{BUCKET}/folder/a film.mp4", "Once", "do not exist"),
            (f"s3://{BUCKET}/folder/a film.mp4", "Site", "type ftp"),
        ):
            with pytest.raises(SourceError, match=text):
                await asyncio.to_thread(look, place, name)
        elsewhere = replace(access, allowed=(ipaddress.ip_network("10.0.0.0/8"),))
        with pytest.raises(SourceError, match="may not be reached"):
            await asyncio.to_thread(look, f"s3://{BUCKET}/folder/a film.mp4", "My films", elsewhere)


async def test_a_bucket_that_refuses_our_keys_is_named_without_them(
    nats: NatsServer, tmp_path: Path, server: Server
) -> None:
    async with connected(nats.url) as js:
        access = access_to(tmp_path, js=lambda: js, loop=asyncio.get_running_loop())
        record = CredentialRecord(
            account=ACCOUNT, credential=credential_id("Wrong"), name="Wrong", endpoint=server.url(""),
            public="hidden-id", secret=VAULT.encrypt("hidden-key", CREDENTIAL_PURPOSE), created_ms=0, changed_ms=0,
        )  # fmt: skip
        await Bucket(lambda: js, "credentials", CredentialRecord).create(credential_key(ACCOUNT, "Wrong"), record)
        server.put(f"/{BUCKET}/a.mp4", b"", "forbidden")
        with pytest.raises(SourceError, match="access to it was refused") as caught:
            await asyncio.to_thread(open_media, source("s3", f"s3://{BUCKET}/a.mp4", "Wrong"), access, Event())
        assert all(secret not in str(caught.value) for secret in ("hidden", "Signature"))


def picture(kind: str, width: int = 64, height: int = 48) -> bytes:
    """Encode a picture whose left half is red."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (255, 0, 0)
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    codec, form = {"png": ("png", "rgba"), "jpeg": ("mjpeg", "yuvj420p"), "webp": ("libwebp", "bgra")}[kind]
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, form
    encoder.time_base = 1
    return b"".join(bytes(p) for f in (frame.reformat(format=form), None) for p in encoder.encode(f))


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_watermark_is_fetched_once_and_decoded(tmp_path: Path, server: Server, kind: str) -> None:
    access, cache = access_to(tmp_path), PictureCache()
    url = server.put("/mark", picture(kind))
    found = open_picture(source("url", url), access, Event(), cache)
    assert found.pixels.shape == (48, 64, 4)
    assert found.pixels[24, 8, 0] > 200
    assert found.pixels[24, 8, 1] < 60
    assert found.pixels[24, 56, 0] < 60
    asked = len(server.requests)
    assert open_picture(source("url", url), access, Event(), cache) is found
    other = server.put("/same", picture(kind))
    assert open_picture(source("url", other), access, Event(), cache) is found
    assert len(server.requests) == asked + 1


def test_a_watermark_is_checked_before_it_is_decoded(tmp_path: Path, server: Server) -> None:
    access, cache = access_to(tmp_path), PictureCache()
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    for data, text in (
        (bomb, "30000x30000"), (svg, "wrong type"), (picture("png")[:60], "cannot be decoded"),
        (b"\x89PNG\r\n\x1a\n" + bytes(6 << 20), "larger than"), (b"\xff\xd8\xff", "cut short"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=text):
            open_picture(source("url", server.put("/mark", data)), access, Event(), cache)
