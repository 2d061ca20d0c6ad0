"""Hours of a recording, and damages to their index objects."""

from __future__ import annotations

import json
from collections.abc import Callable

from shared.messages.recordings import RecordingRecord
from tests.support.archive import Archive
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, publish

H = HOUR_START_MS


def gone(archiver: Archive, key: str) -> None:
    archiver.store.delete(key)


def empty(archiver: Archive, key: str) -> None:
    archiver.store.put(key, b"")


def zeroed(archiver: Archive, key: str) -> None:
    archiver.store.put(key, bytes(len(archiver.store.get(key))))


def cut_short(archiver: Archive, key: str) -> None:
    archiver.store.put(key, archiver.store.get(key)[:-700])


def a_bit_off(archiver: Archive, key: str) -> None:
    data = bytearray(archiver.store.get(key))
    data[len(data) // 2] ^= 4
    archiver.store.put(key, bytes(data))


def of_another_version(archiver: Archive, key: str) -> None:
    archiver.store.put(key, json.dumps({"version": 9, "segments": "elsewhere"}).encode())


DAMAGES: tuple[Callable[[Archive, str], None], ...] = (gone, empty, zeroed, cut_short, a_bit_off, of_another_version)


async def three_hours(archiver: Archive, event: str) -> RecordingRecord:
    """Record over three hours, two sessions, a late segment and one salvaged; the middle hour has all of it."""
    first = Session(event, first_frame_ms=H - 10_000)
    second = Session(event, origin_ms=40_000, first_frame_ms=H - 10_000)
    third = Session(event, origin_ms=3_600_000, first_frame_ms=H)
    await publish(archiver.js, [*first.segments(6), first.segment(6), first.segment(8), first.segment(7)])
    await publish(
        archiver.js, [*second.segments(9), first.segment(9, recovered=True, bytes=900), *second.segments(3, 9)]
    )
    await publish(archiver.js, third.segments(5))
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    record = await archiver.record(event)
    assert record is not None
    assert [hour.hour for hour in record.hours] == [H // 3_600_000 - 1, H // 3_600_000, H // 3_600_000 + 1]
    return record
