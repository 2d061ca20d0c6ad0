"""The archiver on the broker: what its durables make of segments, job states and sweeps, each delivered twice."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from services.archiver import handlers
from services.archiver.compaction import Compactor
from services.archiver.handlers import Handlers
from services.archiver.slots import Slots
from shared.broker.bus import headers_of
from shared.broker.kv import Bucket
from shared.broker.subjects import channel_of, subject_of
from shared.errors import Unavailable
from shared.messages.base import Message
from shared.messages.live import JobStateChanged
from shared.messages.media import RecordingsSweep
from shared.messages.ranges import Selection
from shared.messages.recordings import RecordingRecord
from shared.messages.sessions import SessionRecord
from shared.recording import load_range
from shared.recording.hours import HOUR_MS
from shared.runtime.clock import SystemClock
from shared.runtime.settings import Settings
from shared.store.opening import open_store
from tests.support.archive import Archive, SetClock, archive, parts, put_media, running_archiver
from tests.support.nats import NatsServer
from tests.support.recordings import ACCOUNT, HOUR_START_MS, Session, new_event, publish, until
from tests.support.s3 import s3_server
from tests.support.shared_bus import idle as bus_idle


async def send_twice(archiver: Archive, message: Message) -> None:
    headers = headers_of(message, "test", SystemClock())
    del headers["Nats-Msg-Id"]
    for _ in range(2):
        await archiver.js.publish(
            subject_of(message), message.model_dump_json().encode(), stream=channel_of(message).stream, headers=headers
        )


async def idle(archiver: Archive, stream: str, durable: str) -> None:
    """Wait until a durable has nothing to do."""

    async def look() -> bool:
        info = await archiver.js.consumer_info(stream, durable)
        return info.num_pending == 0 and info.num_ack_pending == 0

    await until(look)


async def hours(archiver: Archive, event: str) -> list[int]:
    record = await archiver.record(event)
    return [hour.segments for hour in record.hours] if record else []


async def test_a_stream_is_compacted_as_it_comes_and_closed_at_its_end(nats: NatsServer, tmp_path: Path) -> None:
    event = new_event()
    session = Session(event, duration=60 * 90_000)
    async with archive(nats.url, tmp_path) as archiver:
        archiver.clock.at_ms = HOUR_START_MS + 95 * 60_000
        await archiver.job(event)
        async with running_archiver(nats.url, tmp_path, archiver.clock):
            for segment in session.segments(95):
                await publish(archiver.js, [segment, segment], dedup=False)
            await idle(archiver, "SEGMENTS", "archiver-segments")
            await until(lambda: hours_are(archiver, event, [60, 30]))
            await archiver.job(event, "finished")
            changed = JobStateChanged(account=ACCOUNT, event=event, state="finished", at_ms=0, revision=5)
            await send_twice(archiver, changed)
            await until(lambda: hours_are(archiver, event, [60, 35]))
            await idle(archiver, "EVENTS", "archiver-jobs")
            archiver.clock.at_ms += 8 * 24 * HOUR_MS
            await send_twice(archiver, RecordingsSweep(account="system", tick_ms=1))
            await until(lambda: bus_idle(archiver.js, "archiver-sweep"))
        assert await archiver.record(event) is None
        assert len(await archiver.announced("recordings.hour.closed", event)) == 2
        assert len(await archiver.announced("recordings.range.expired", event)) == 2


async def hours_are(archiver: Archive, event: str, expected: list[int]) -> bool:
    return await hours(archiver, event) == expected


async def test_a_session_that_ends_after_its_job_is_closed_too(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "LOOK_AGAIN", timedelta(milliseconds=200))
    event = new_event()
    session = Session(event, duration=60 * 90_000)
    async with archive(nats.url, tmp_path) as archiver:
        archiver.clock.at_ms = HOUR_START_MS + 3 * 60_000
        await archiver.job(event, "cancelled")
        sessions = Bucket(archiver.service.js, "sessions", SessionRecord)
        key = f"{ACCOUNT}.{event}.{session.session}"
        going = SessionRecord(
            account=ACCOUNT, event=event, session=session.session, protocol="rtmp", instance="x", first_frame_ms=0,
            origin_ms=0,
        )  # fmt: skip
        await sessions.create(key, going)
        async with running_archiver(nats.url, tmp_path, archiver.clock):
            await publish(archiver.js, session.segments(3))
            await send_twice(
                archiver,
                JobStateChanged(
                    account=ACCOUNT, event=event, state="cancelled", at_ms=archiver.clock.at_ms, revision=6
                ),
            )
            await until(lambda: hours_are(archiver, event, [3]))
            await publish(archiver.js, session.segments(1, first=3))
            await sessions.change(key, lambda r: r.model_copy(update={"ended_ms": 1}) if r else None)
            await until(lambda: hours_are(archiver, event, [4]))


async def test_a_store_that_is_away_costs_no_message_and_the_next_look_makes_up_for_it() -> None:
    class Away(Compactor):
        calls = 0
        fails = True

        def __init__(self) -> None:
            pass

        async def compact(self, account: str, event: str, *, everything: bool = False) -> None:
            self.calls += 1
            if self.fails:
                raise Unavailable("the store is away")

    clock = SetClock()
    compactor, slots = Away(), Slots(clock)
    handle = Handlers(compactor, slots, None, None, None, clock).segment  # type: ignore[arg-type]
    session = Session(new_event(), duration=60 * 90_000)
    clock._ns = 0
    clock.monotonic_ns = lambda: clock._ns  # type: ignore[method-assign]
    for segment in session.segments(12):
        await handle(segment)
    assert compactor.calls == 1  # after a failure the event is left alone for a while
    clock._ns += 31_000_000_000
    compactor.fails = False
    for segment in session.segments(5, first=12):
        await handle(segment)
    assert compactor.calls == 2
    for segment in session.segments(30, first=17):
        await handle(segment)
    assert compactor.calls == 5  # one a slot, and none for the segments between


async def test_a_recording_in_a_bucket_is_compacted_and_deleted(nats: NatsServer, tmp_path: Path) -> None:
    event = new_event()
    segments = Session(event, duration=60 * 90_000).segments(65)
    async with archive(nats.url, tmp_path) as archiver:
        with s3_server("media") as endpoint:
            settings = Settings(data_dir=tmp_path, store="s3://media/reelay", s3_endpoint=endpoint)
            store = open_store(settings)
            put_media(store, segments[:1])
            for segment in segments:
                store.begin(segment.key).write_bytes(b"moof")
                store.commit(segment.key)
            await publish(archiver.js, segments)
            inner = parts(archiver.service, archiver.clock, store)
            archiver.clock.at_ms = HOUR_START_MS + 70 * 60_000
            await archiver.job(event, "finished")
            await inner.sweeper.sweep()
            assert await hours(archiver, event) == [60, 5]
            everything = Selection(clock="stream", start=Fraction(0), end=Fraction(65 * 60))
            found = await load_range(archiver.js, store, ACCOUNT, event, selection=everything)
            assert list(found.segments) == segments
            archiver.clock.at_ms += 8 * 24 * HOUR_MS
            await inner.sweeper.sweep()
            assert list(store.list(f"live/{event}")) == []
            assert await archiver.record(event) is None


async def test_a_record_lists_no_more_than_it_must(nats: NatsServer, tmp_path: Path) -> None:
    event = new_event()
    async with archive(nats.url, tmp_path) as archiver:
        archiver.clock.at_ms = HOUR_START_MS + 48 * HOUR_MS
        await publish(archiver.js, Session(event, duration=600 * 90_000).segments(48 * 6))
        await archiver.compactor.compact(ACCOUNT, event, everything=True)
        record = await archiver.record(event)
        assert record is not None
        # A value is at most 1 MiB: 7 days of hours must fit with much room.
        assert len(record.model_dump_json()) / 48 * 24 * 7 < 150_000
        assert isinstance(record, RecordingRecord)
