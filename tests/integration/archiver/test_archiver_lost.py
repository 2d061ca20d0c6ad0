"""A folder that is not mounted looks like an empty one: nothing is concluded from it, and it comes back whole."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from services.archiver.removal import Removal
from services.archiver.room import RoomMaker
from shared.broker.kv import Bucket
from shared.errors import Unavailable
from shared.messages.media import IndexedSegment, RecordingDelete
from shared.messages.ranges import Selection
from shared.messages.recordings import RecordingRecord
from shared.recording import RecordingPart, load_range
from shared.recording.hours import HOUR_MS, hour_of, load_hour
from shared.store.reserve import Reserve
from tests.support.archive import EACH, Archive, Killed, archive, held, parts, recorded, there
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish

FIRST_HOUR = hour_of(HOUR_START_MS)
KEEP = timedelta(days=7)
KEEP_MS = KEEP // timedelta(milliseconds=1)


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path, KEEP) as running:
        for other in await running.records.recordings():  # of the tests before, in other folders
            await Bucket(running.service.js, "recordings", RecordingRecord).delete(f"{other.account}.{other.event}")
        yield running


def mounted(archiver: Archive) -> Path:
    return archiver.store.root


def unmount(archiver: Archive) -> Path:
    """Give where the folder's files are now."""
    disk = mounted(archiver).with_name("disk")
    mounted(archiver).rename(disk)
    mounted(archiver).mkdir()
    return disk


def mount(archiver: Archive, disk: Path) -> None:
    shutil.rmtree(mounted(archiver))
    disk.rename(mounted(archiver))


async def part(archiver: Archive, event: str) -> RecordingPart:
    selection = Selection(clock="wall", start=Fraction(HOUR_START_MS, 1000), end=Fraction(HOUR_START_MS, 1000) + 20_000)
    return await load_range(archiver.js, archiver.store, ACCOUNT, event, selection=selection)


async def test_an_unmounted_folder_costs_nothing(archiver: Archive) -> None:
    event = new_event()
    record = await recorded(archiver, event)
    whole = held(archiver, record)
    disk = unmount(archiver)
    for _ in range(2):
        await archiver.sweeper.sweep()
        assert (await there(archiver, event)).hours == record.hours
        assert len(await archiver.records.sessions(ACCOUNT, event)) == 1
        found = await part(archiver, event)
        assert (found.segments, len(found.unread)) == ((), 3), "a gap, and known as one"
        assert await (await archiver.index(event)).between("primary-1", 0, 1 << 62) == []
    mount(archiver, disk)
    await archiver.sweeper.sweep()
    assert held(archiver, await there(archiver, event)) == whole
    assert len((await part(archiver, event)).segments) == 3 * EACH


@pytest.mark.parametrize("index_is_back", [True, False])
async def test_what_a_half_mounted_folder_lacks_is_found_when_it_is_back(
    archiver: Archive, *, index_is_back: bool
) -> None:
    event = new_event()
    record = await recorded(archiver, event, sessions=2)
    whole, root = held(archiver, record), mounted(archiver) / "live" / event
    away = archiver.store.root / "away"
    lost = whole[-1][-1].segment.session
    away.mkdir()
    for name in ("index", lost):
        (root / name).rename(away / name)
    for _ in range(2):  # what it wrote the first time is gone, too, the second time
        await archiver.sweeper.sweep()
        lesser = await there(archiver, event)
        assert [hour.segments for hour in lesser.hours] == [EACH, EACH // 2, EACH]
        assert [hour.lost is not None for hour in lesser.hours] == [False, True, False]
        assert lesser.hours[2] == record.hours[2], "nothing of it is there"
        assert len((await part(archiver, event)).segments) == 3 * EACH // 2
        assert (await archiver.sweeper.sweep(), await there(archiver, event)) == (None, lesser), "nothing new"
        shutil.rmtree(root / "index")
    (away / lost).rename(root / lost)
    if index_is_back:
        (away / "index").rename(root / "index")
    await archiver.sweeper.sweep()
    after = await there(archiver, event)
    assert [hour.lost for hour in after.hours] == [None] * 3
    assert [[(i.segment.key, i.number) for i in hour] for hour in held(archiver, after)] == [
        [(i.segment.key, i.number) for i in hour] for hour in whole
    ]
    if index_is_back:
        back = [
            [[i for i in hour if i.segment.session == lost] for hour in held_]
            for held_ in (held(archiver, after), whole)
        ]
        assert back[0] == back[1], "as it was announced"


@pytest.mark.parametrize(
    ("indexes", "files"),
    [
        ([1, 2], []), ([0, 1], []), ([3, 4], []), ([1, 3], []), ([0, 1, 2, 3, 4], []),
        ([1, 2], [1]), ([1, 2], [2]), ([1, 2, 3], [2]), ([1, 2, 3], [1, 3]), ([0, 1, 2, 3, 4], [0, 2, 4]),
        ([2, 3, 4], [2, 4]),
    ],
)  # fmt: skip
async def test_adjacent_hours_get_the_numbers_that_they_had(
    archiver: Archive, indexes: list[int], files: list[int]
) -> None:
    """Of some hours the objects are gone, of some of them the files, too; then these are back."""
    event = new_event()
    record = await recorded(archiver, event, 5)
    whole = held(archiver, record)
    away = {i.segment.key: archiver.store.get(i.segment.key) for hour in files for i in whole[hour]}
    for key in (*(record.hours[hour].key for hour in indexes), *away):
        archiver.store.delete(key)

    def numbers(hours: list[tuple[IndexedSegment, ...]]) -> list[list[tuple[str, int | None, int]]]:
        return [[(i.segment.key, i.number, i.discontinuity) for i in hour] for hour in hours]

    async def look(*, but: list[int]) -> None:
        await archiver.sweeper.sweep()
        hours = (await there(archiver, event)).hours
        found = [load_hour(archiver.store, hour).segments for n, hour in enumerate(hours) if n not in but]
        assert numbers(found) == numbers([hour for n, hour in enumerate(whole) if n not in but])

    await look(but=files)
    for key, data in away.items():
        archiver.store.put(key, data)
    await look(but=[])


async def test_a_late_segment_joins_an_hour_that_is_lost_for_now(archiver: Archive) -> None:
    event = new_event()
    record = await recorded(archiver, event, 1)
    (whole,) = held(archiver, record)
    disk = unmount(archiver)
    late = Session(event, duration=600 * 90_000).segment(0)
    await publish(archiver.js, [late])
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    (hour,) = (await there(archiver, event)).hours
    assert (hour.segments, hour.lost is not None) == (1, True)
    mount(archiver, disk)
    await archiver.sweeper.sweep()
    after = await there(archiver, event)
    (found,) = held(archiver, after)
    assert {i.segment.key for i in found} == {late.key, *(i.segment.key for i in whole)}
    assert [i for i in found if i.segment.key != late.key] == list(whole)
    assert after.hours[0].lost is None


async def test_what_passes_its_retention_while_it_is_away_is_deleted_when_it_is_back(archiver: Archive) -> None:
    event = new_event()
    record = await recorded(archiver, event)
    disk = unmount(archiver)
    archiver.clock.at_ms = HOUR_START_MS + KEEP_MS + 2 * HOUR_MS
    for _ in range(2):
        await archiver.sweeper.sweep()
        away = await there(archiver, event)
        assert [hour.key for hour in away.hours] == [record.hours[2].key]
        assert [hour.key for hour in away.expiring] == [hour.key for hour in record.hours[:2]]
    assert await archiver.announced("recordings.range.expired", event) == []
    mount(archiver, disk)
    await archiver.sweeper.sweep()
    after = await there(archiver, event)
    assert (after.hours, after.expiring) == (record.hours[2:], ())
    assert len([key for key in archiver.objects(event) if key.endswith(".m4s")]) == EACH
    assert len(await archiver.announced("recordings.range.expired", event)) == 2


async def test_what_never_comes_back_is_given_up_after_twice_the_retention(archiver: Archive) -> None:
    event = new_event()
    await recorded(archiver, event)
    unmount(archiver)
    archiver.clock.at_ms = HOUR_START_MS + KEEP_MS + 3 * HOUR_MS
    await archiver.sweeper.sweep()
    assert len((await there(archiver, event)).expiring) == 3
    archiver.clock.at_ms += KEEP_MS
    await archiver.sweeper.sweep()
    assert await archiver.record(event) is None
    assert await archiver.records.sessions(ACCOUNT, event) == []


async def test_a_short_disk_behind_an_unmounted_folder_takes_nothing(archiver: Archive, tmp_path: Path) -> None:
    event = new_event()
    record = await recorded(archiver, event, keep_log=True)
    disk = unmount(archiver)
    await archiver.sweeper.sweep()  # the log has all of it, so the index is written anew
    archiver.clock.at_ms += HOUR_MS
    reserve = Reserve(tmp_path, 50, lambda _folder: (10_000, 0, 60))
    assert await RoomMaker(reserve, archiver.records, archiver.retention, archiver.clock).run_once() == 0
    assert (await there(archiver, event)).hours == record.hours
    mount(archiver, disk)
    assert await RoomMaker(reserve, archiver.records, archiver.retention, archiver.clock).run_once() == 3


async def test_a_range_that_begins_in_a_lost_hour_is_deleted_when_it_is_back(archiver: Archive) -> None:
    event = new_event()
    record = await recorded(archiver, event)
    removal = Removal(archiver.store, archiver.compactor, archiver.retention)
    start = HOUR_START_MS + 1_800_000
    wish = RecordingDelete(account=ACCOUNT, event=event, from_ms=start, to_ms=HOUR_START_MS + 2 * HOUR_MS, at_ms=1)
    disk = unmount(archiver)
    with pytest.raises(Unavailable):
        await removal.remove(wish)
    assert [hour.key for hour in (await there(archiver, event)).hours] == [record.hours[0].key, record.hours[2].key]
    mount(archiver, disk)
    await removal.remove(wish)
    after = await there(archiver, event)
    assert [hour.segments for hour in after.hours] == [3, 6]
    assert len([key for key in archiver.objects(event) if key.endswith(".m4s")]) == 9


async def test_a_range_deleted_from_an_hour_that_lacks_something_does_not_come_back(archiver: Archive) -> None:
    """What is missing and may lie in the range goes with it; what lies outside for certain is still looked for."""
    event = new_event()
    record = await recorded(archiver, event, 1)
    keys = [indexed.segment.key for indexed in held(archiver, record)[0]]
    data = {key: archiver.store.get(key) for key in keys}
    for key in (record.hours[0].key, keys[1], keys[4]):
        archiver.store.delete(key)
    await archiver.sweeper.sweep()
    assert [hour.segments for hour in (await there(archiver, event)).hours] == [4]
    removal = Removal(archiver.store, archiver.compactor, archiver.retention)
    start = HOUR_START_MS + 1_800_000  # from the fourth on
    await removal.remove(RecordingDelete(account=ACCOUNT, event=event, from_ms=start, to_ms=None, at_ms=1))
    for key in (keys[1], keys[4]):
        archiver.store.put(key, data[key])
    await archiver.sweeper.sweep()
    after = await there(archiver, event)
    assert [i.segment.key for i in held(archiver, after)[0]] == keys[:3]
    assert [i.number for i in held(archiver, after)[0]] == [0, 1, 2]
    assert after.hours[0].lost is None


async def test_a_range_in_which_only_missing_segments_lie_does_not_come_back(archiver: Archive) -> None:
    event = new_event()
    record = await recorded(archiver, event, 1)
    keys = [indexed.segment.key for indexed in held(archiver, record)[0]]
    last = archiver.store.get(keys[-1])
    for key in (record.hours[0].key, keys[-1]):
        archiver.store.delete(key)
    await archiver.sweeper.sweep()
    lesser = (await there(archiver, event)).hours[0]
    assert (lesser.segments, lesser.wall_end_ms) == (EACH - 1, record.hours[0].wall_end_ms)
    removal = Removal(archiver.store, archiver.compactor, archiver.retention)
    start = HOUR_START_MS + HOUR_MS - 600_000
    await removal.remove(RecordingDelete(account=ACCOUNT, event=event, from_ms=start, to_ms=None, at_ms=1))
    archiver.store.put(keys[-1], last)
    await archiver.sweeper.sweep()
    assert [i.segment.key for i in held(archiver, await there(archiver, event))[0]] == keys[:-1]


async def test_a_tidy_up_leaves_a_rebuilt_hour_that_a_record_is_about_to_list(archiver: Archive) -> None:
    """It has the place in the log that it had, so only its age tells it from one that was replaced."""
    event = new_event()
    record = await recorded(archiver, event, 1)
    archiver.store.delete(held(archiver, record)[0][1].segment.key)
    archiver.store.delete(record.hours[0].key)
    other = parts(archiver.service, archiver.clock, archiver.store)
    other.records.die_at = 1
    with pytest.raises(Killed):  # stands for: has written its object, and not yet its record
        await other.compactor.rebuilder.rebuild(ACCOUNT, event)
    objects = archiver.objects(event)
    await archiver.retention.tidy(ACCOUNT, event)
    assert archiver.objects(event) == objects
    archiver.age(event)
    await archiver.retention.tidy(ACCOUNT, event)
    assert [key for key in archiver.objects(event) if key.startswith("index/")] == [], "it was killed indeed"
    await archiver.sweeper.sweep()
    assert len(held(archiver, await there(archiver, event))[0]) == EACH - 1
