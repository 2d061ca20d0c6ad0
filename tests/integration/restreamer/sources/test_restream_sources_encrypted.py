"""Encrypted recordings as sources of restreams: read as clear ones, part by part while they grow."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from threading import Event

import pytest

from services.restreamer.model import Packet, SourceError
from services.restreamer.sources.access import Access
from services.restreamer.sources.local import local_file
from services.restreamer.sources.recorded.live import LiveMedia
from services.restreamer.sources.recorded.recordings import RecordingMedia
from shared.broker.kv import Bucket
from shared.messages.clips import ClipEncryption, ClipFile, ClipRecord
from shared.security.secrets import Vault
from tests.support.clipper_desk import ACCOUNT, Desk
from tests.support.framecode_record import Spec
from tests.support.nats import NatsServer
from tests.support.recordings import connected
from tests.support.sealed import KEYS, folder_of_event, record_twice, stored
from tests.support.shared_bus import SECRET, settings_for
from tests.support.sources import QUICK, access_to, check_times, numbers, source


@pytest.fixture
async def desk(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Desk]:
    async with connected(nats.url) as js:
        yield Desk(js, settings_for(nats, tmp_path))


def access_of(desk: Desk, secret: str = SECRET) -> Access:
    limits = replace(QUICK, patience=timedelta(seconds=10), live_return=timedelta(seconds=1))
    return access_to(
        desk.settings.data_dir, js=lambda: desk.js, loop=asyncio.get_running_loop(), store=desk.store, limits=limits,
        vault=Vault(secret.encode()),
    )  # fmt: skip


async def test_an_encrypted_recording_is_read_with_its_key_alone(desk: Desk, tmp_path: Path) -> None:
    key = KEYS.fresh(folder_of_event(desk.event))
    _, sealed = record_twice(Spec(seconds=Fraction(5)), tmp_path / "made", key=key)
    await desk.announce(stored(sealed, desk.store, desk.event, begun_ms=desk.begun_ms))

    def read(access: Access) -> list[int]:
        media = RecordingMedia(desk.event, access, Event())
        packets = list(media.packets(0))
        check_times(packets)
        return numbers(media.video, packets)

    assert await asyncio.to_thread(read, access_of(desk)) == list(range(150))
    with pytest.raises(SourceError, match="another SECRET_KEY"):
        await asyncio.to_thread(read, access_of(desk, "another"))


async def test_a_growing_segment_is_read_up_to_its_last_whole_part(desk: Desk, tmp_path: Path) -> None:
    key = KEYS.fresh(folder_of_event(desk.event))
    _, sealed = record_twice(Spec(seconds=Fraction(5), audio=None), tmp_path / "made", key=key)
    first, second, *_ = stored(sealed, desk.store, desk.event, begun_ms=desk.begun_ms)
    for segment in desk.store.path(first.key).parent.glob("*.m4s"):
        if segment.name > Path(second.key).name:
            segment.unlink()
    os.truncate(desk.store.path(second.key), second.bytes - 100)  # within the last part
    await desk.announce([first])

    access = access_of(desk)

    def read() -> list[int]:
        media = LiveMedia(desk.event, access, Event())
        found: list[Packet] = []
        for packet in media.packets(0):
            found.append(packet)
            if len(found) == 45:
                break
        return numbers(media.video, found)

    assert (await asyncio.to_thread(read))[:40] == list(range(60, 100))


async def test_an_encrypted_clip_is_no_source(desk: Desk) -> None:
    order = desk.order(0, 1, encryption=ClipEncryption(kid="0" * 32, key="sealed"))
    file = ClipFile(
        accuracy="frame", method="copy", key="clips/main/x/frame.mp4", bytes=1, in_point=Fraction(0),
        out_point=Fraction(1), duration=Fraction(1), frames=1,
    )  # fmt: skip
    record = ClipRecord(
        account=ACCOUNT, clip=order.clip, request=order, state="finished", created_ms=0, changed_ms=0, file=file
    )
    await Bucket(lambda: desk.js, "clips", ClipRecord).create(f"{ACCOUNT}.{order.clip}", record)
    with pytest.raises(SourceError, match="the clip is encrypted"):
        await asyncio.to_thread(local_file, source("clip", order.clip), order.clip, access_of(desk), Event())
