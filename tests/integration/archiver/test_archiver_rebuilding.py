"""Index objects that are gone or damaged are rebuilt: from the log as they were, from the files as these say."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from services.archiver.removal import Removal
from services.gateway.delivery.index.live import Shelf
from shared.messages.base import Message
from shared.messages.media import IndexHour, RecordingDelete, RecordingRebuild
from shared.messages.recordings import HourSummary
from shared.recording.asking import Asking
from shared.recording.hours import load_hour
from shared.runtime.clock import SystemClock
from shared.store.base import ObjectMissing
from tests.integration.archiver.test_archiver_from_files import part
from tests.support.archive import Archive, Killed, archive, parts, running_archiver
from tests.support.archive_damage import DAMAGES, H, gone, three_hours, zeroed
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, Session, new_event, publish, until


@pytest.fixture
async def archiver(nats: NatsServer, tmp_path: Path) -> AsyncIterator[Archive]:
    async with archive(nats.url, tmp_path) as made:
        yield made


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda d: d.__name__)
@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "middle", "newest"])
async def test_what_the_log_still_has_is_rebuilt_as_it_was(
    archiver: Archive, damage: Callable[[Archive, str], None], place: int
) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    hour = record.hours[place]
    original = archiver.store.get(hour.key)
    damage(archiver, hour.key)
    assert await archiver.compactor.rebuilder.rebuild(ACCOUNT, event) == 1
    after = await archiver.record(event)
    assert after is not None
    assert after.hours == record.hours, "the same object under the same key"
    assert archiver.store.get(hour.key) == original
    assert await archiver.compactor.rebuilder.rebuild(ACCOUNT, event) == 0


async def test_all_hours_at_once(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    originals = [archiver.store.get(hour.key) for hour in record.hours]
    for hour in record.hours:
        gone(archiver, hour.key)
    await archiver.sweeper.sweep()
    after = await archiver.record(event)
    assert after is not None
    for hour, original in zip(after.hours, originals, strict=True):
        rebuilt, was = load_hour(archiver.store, hour), IndexHour.model_validate_json(original)
        assert [i.segment for i in rebuilt.segments] == [i.segment for i in was.segments]
        assert [i.number for i in rebuilt.segments] == [i.number for i in was.segments]


@pytest.mark.parametrize("at", range(1, 4))
@pytest.mark.parametrize("where", ["store", "record before", "record after"])
async def test_killed_in_the_middle_of_rebuilding(archiver: Archive, where: str, at: int) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    originals = [archiver.store.get(hour.key) for hour in record.hours]
    for hour in record.hours:
        zeroed(archiver, hour.key)
    if where == "store":
        archiver.store.steps, archiver.store.die_at = 0, at
    else:
        archiver.records.steps, archiver.records.die_at, archiver.records.after = 0, at, where == "record after"
    with contextlib.suppress(Killed):
        await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
    archiver.immortal()
    again = parts(archiver.service, archiver.clock, archiver.store)
    await again.compactor.rebuilder.rebuild(ACCOUNT, event)
    after = await archiver.record(event)
    assert after is not None
    found = [[i.segment for i in load_hour(archiver.store, hour).segments] for hour in after.hours]
    assert found == [[i.segment for i in IndexHour.model_validate_json(was).segments] for was in originals]


async def test_two_archivers_at_once(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    gone(archiver, record.hours[1].key)
    other = parts(archiver.service, archiver.clock, archiver.store)
    late = Session(event, first_frame_ms=H).segments(2)
    await publish(archiver.js, late)
    await asyncio.gather(
        archiver.compactor.rebuilder.rebuild(ACCOUNT, event),
        other.compactor.rebuilder.rebuild(ACCOUNT, event),
        other.compactor.compact(ACCOUNT, event, everything=True),
    )
    after = await archiver.record(event)
    assert after is not None
    for hour in after.hours:
        load_hour(archiver.store, hour)
    held = {i.segment.key for hour in after.hours for i in load_hour(archiver.store, hour).segments}
    assert len(held) == sum(hour.segments for hour in record.hours) + 2


async def test_a_late_segment_joins_a_damaged_hour_and_nothing_is_lost(archiver: Archive) -> None:
    """Compaction reads what an hour has: what it could not read was given up."""
    event = new_event()
    record = await three_hours(archiver, event)
    zeroed(archiver, record.hours[1].key)
    await publish(archiver.js, [Session(event, first_frame_ms=H + 60_000).segment(0)])
    await archiver.compactor.compact(ACCOUNT, event, everything=True)
    after = await archiver.record(event)
    assert after is not None
    assert after.hours[1].segments == record.hours[1].segments + 1
    assert len(load_hour(archiver.store, after.hours[1]).segments) == after.hours[1].segments


async def test_until_it_is_rebuilt_the_rest_can_be_read(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    whole = [s.key for s in (await part(archiver, event, 0, 10_000)).segments]
    for damage in DAMAGES:
        damage(archiver, record.hours[1].key)
        found = await part(archiver, event, 0, 10_000)
        assert [hour.hour for hour in found.unread] == [record.hours[1].hour]
        assert len(found.segments) == record.hours[0].segments + record.hours[2].segments
        index = await archiver.index(event)
        numbers = [entry.number for entry in await index.numbered("primary-1")]
        assert numbers == sorted(numbers)
        assert len(await index.between("primary-1", 0, 1 << 62)) == len(found.segments)
        await archiver.compactor.rebuilder.rebuild(ACCOUNT, event)
        again = await part(archiver, event, 0, 10_000)
        assert [s.key for s in again.segments] == whole
        assert len(await index.between("primary-1", 0, 1 << 62)) == len(whole), "an index in memory sees it, too"


async def test_whoever_cannot_read_an_hour_has_it_rebuilt(nats: NatsServer, tmp_path: Path) -> None:
    """A player's gateway meets the damage: it asks, a running archiver rebuilds, the next look has all of it."""
    event = new_event()
    async with archive(nats.url, tmp_path) as made:
        record = await three_hours(made, event)
        original = made.store.get(record.hours[1].key)
        asked: list[RecordingRebuild] = []

        class Asked:
            async def emit(self, message: Message) -> int:
                assert isinstance(message, RecordingRebuild)
                asked.append(message)
                return 0

        clock = SystemClock()
        zeroed(made, record.hours[1].key)
        index = await Shelf(made.service.js, made.store, clock, asking=Asking(Asked(), clock)).index(ACCOUNT, event)
        before = await index.between("primary-1", 0, 1 << 62)
        await index.between("primary-1", 0, 1 << 62)
        assert [(one.hour, one.key) for one in asked] == [(record.hours[1].hour, record.hours[1].key)], "once"
        async with running_archiver(nats.url, tmp_path, clock):
            await made.js.publish(
                f"recordings.rebuild.{ACCOUNT}.{event}", asked[0].model_dump_json().encode(),
                stream="COMMANDS_ARCHIVER",
                headers={"ce-id": "1", "ce-type": "recordings.rebuild", "ce-source": "gateway"},
            )  # fmt: skip

            async def rebuilt() -> bool:
                try:
                    return made.store.get(record.hours[1].key) == original
                except ObjectMissing:
                    return False

            await until(rebuilt)

            async def seen() -> bool:
                return len(await index.between("primary-1", 0, 1 << 62)) == len(before) + record.hours[1].segments

            await until(seen)


async def test_a_range_is_deleted_out_of_an_hour_that_had_to_be_rebuilt(archiver: Archive) -> None:
    event = new_event()
    record = await three_hours(archiver, event)
    hour: HourSummary = record.hours[1]
    zeroed(archiver, hour.key)
    middle = hour.wall_start_ms + 20_000
    wish = RecordingDelete(account=ACCOUNT, event=event, from_ms=hour.wall_start_ms, to_ms=middle, at_ms=H)
    await Removal(archiver.store, archiver.compactor, archiver.retention).remove(wish)
    after = await archiver.record(event)
    assert after is not None
    left = [i.segment for each in after.hours for i in load_hour(archiver.store, each).segments]
    assert not [s for s in left if hour.wall_start_ms <= s.wall_start_ms and s.wall_start_ms + 2000 <= middle]
    assert len(left) < sum(each.segments for each in record.hours)
    assert len(left) > record.hours[0].segments + record.hours[2].segments
