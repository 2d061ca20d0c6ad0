"""Segments' files that cannot be read, or are damaged, when their hour's index is rebuilt; sweeps that go on anyway."""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from services.archiver import finding
from shared.broker.kv import Conflict
from shared.errors import Unavailable
from shared.media.segment_head import UUID
from shared.messages.media import SegmentWritten
from shared.recording.hours import HOUR_MS
from tests.support.archive import EACH, Archive, archive, held, recorded, there
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, new_event


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path) as running:
        yield running


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("reading", ["read_segment", "read_tracks", "digest"])
async def test_what_passes_loses_no_segment(
    archiver: Archive, monkeypatch: pytest.MonkeyPatch, number: int, reading: str
) -> None:
    event = new_event()
    record = await recorded(archiver, event, 1)
    archiver.store.delete(record.hours[0].key)
    real, calls = getattr(finding, reading), 0

    def fails(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(number, os.strerror(number))
        return real(*args)

    with monkeypatch.context() as patched:
        patched.setattr(finding, reading, fails)
        if number == errno.EIO:  # of this one file
            await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
            assert [hour.segments for hour in (await there(archiver, event)).hours] == [EACH - 1]
        else:
            with pytest.raises(Unavailable):
                await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
            assert (await there(archiver, event)).hours == record.hours
    await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    (found,) = held(archiver, await there(archiver, event))
    assert [i.number for i in found] == list(range(EACH))


def told(segment: SegmentWritten) -> tuple[str, int, int, str]:
    return segment.key, segment.start, segment.wall_start_ms, segment.sha256


async def test_any_bit_of_a_head_costs_no_more_than_its_segment(archiver: Archive) -> None:
    """Each bit of it once, and some of the part's: others are found as they were, and none is put into another hour."""
    event = new_event()
    record = await recorded(archiver, event, 1)
    (hour,) = record.hours
    whole = held(archiver, record)[0]
    key = whole[2].segment.key
    data = archiver.store.get(key)
    sessions = {one.session: one for one in await archiver.records.sessions(ACCOUNT, event)}
    lost: list[int] = []
    for far in whole[4:]:
        archiver.store.delete(far.segment.key)
    part, media = 8 * data.index(b"moof"), 8 * data.index(b"mdat")
    for bit in (*range(8 * data.index(b"prft"), part), *range(part, media, 7)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        archiver.store.path(key).write_bytes(damaged)
        found = finding.Finder(archiver.store, ACCOUNT, event, hour, sessions, ()).find(())
        others = [s for s in found.from_files.values() if s.key != key]
        assert [told(s) for s in others] == [told(i.segment) for i in whole[:4] if i.segment.key != key]
        made = next((s for s in found.from_files.values() if s.key == key), None)
        if made is None:
            lost.append(bit)
        else:
            assert abs(made.wall_start_ms - whole[2].segment.wall_start_ms) < HOUR_MS
            assert abs(made.start - whole[2].segment.start) <= made.timescale * hour.longest_ms // 1000
    assert lost


async def test_a_damaged_head_stops_no_sweep(archiver: Archive) -> None:
    event = new_event()
    record = await recorded(archiver, event, 1)
    key = held(archiver, record)[0][2].segment.key
    damaged = bytearray(archiver.store.get(key))
    damaged[damaged.index(UUID) + 32] ^= 0x80  # the timescale
    archiver.store.put(key, bytes(damaged))
    archiver.store.delete(record.hours[0].key)
    await archiver.sweeper.sweep()
    assert [hour.segments for hour in (await there(archiver, event)).hours] == [EACH - 1]


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("x"), Conflict("y"), ValueError()], ids=repr)
async def test_a_recording_that_fails_in_any_way_holds_up_no_other(
    archiver: Archive, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first, second = sorted([new_event(), new_event()])
    for event in (first, second):
        record = await recorded(archiver, event, 1)
        archiver.store.delete(record.hours[0].key)
    rebuild = archiver.compactor.rebuilder.rebuild

    async def fails(account: str, event: str, hours: Any) -> int:
        if event == first:
            raise error
        return await rebuild(account, event, hours)

    monkeypatch.setattr(archiver.compactor.rebuilder, "rebuild", fails)
    with capture_logs() as logs, pytest.raises(Unavailable):
        await archiver.sweeper.sweep()
    assert held(archiver, await there(archiver, second))
    (line,) = [line for line in logs if line["event"] == "recording.sweep.failed"]
    assert (line["event_id"], line["kind"]) == (first, type(error).__name__)


async def test_what_cannot_be_rebuilt_now_does_not_keep_what_is_too_old(
    archiver: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = new_event()
    record = await recorded(archiver, event, 2)
    archiver.store.delete(record.hours[1].key)
    archiver.clock.at_ms += 7 * 24 * HOUR_MS - HOUR_MS

    def fails(*_: Any) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(finding, "read_segment", fails)
    with pytest.raises(Unavailable):
        await archiver.sweeper.sweep()
    assert (await there(archiver, event)).hours == record.hours[1:]
