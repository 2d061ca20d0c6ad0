"""Clips by timecode over HTTP: resolved against the log's tail and the closed hours of a recording."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import httpx
import pytest

from services.gateway.domain.clips import timecode_search
from shared.broker.kv import Bucket
from shared.media.timecode import Counting, parse_label
from shared.media.timecode_line import Found, find
from shared.messages.clips import ClipCreate
from shared.messages.media import IndexedSegment, SegmentWritten, TimecodeMark, Timecodes
from shared.messages.recordings import RecordingRecord
from shared.recording.hours import make_hour, save_hour
from tests.support.api_gateway import Gateway, connected

PAL = Counting(25)
EARLY = Fraction(1, 100)
NOW = 600
"""The stream began so many seconds ago."""


def segments(
    job: str, first_frame_ms: int, start: int, end: int, first: str | None, *, jitter: bool = False
) -> Iterator[SegmentWritten]:
    """Give segments of two seconds from stream time `start` to `end`, whose first label is `first`."""
    session = uuid.uuid4().hex
    for number, at in enumerate(range(start, end, 2)):
        count = PAL.number(parse_label(first)) + 50 * number if first else 0
        marks = tuple(
            TimecodeMark(at=180000 * number + 3600 * n, label=str(PAL.label(count + n + n % 2)))
            for n in range(50 if jitter else 1)
        )
        yield SegmentWritten(
            account="main", event=job, session=session, sequence=number, key=f"live/{job}/{session}/{number}",
            init_key=f"live/{job}/{session}/init", start=180000 * number, duration=180000, timescale=90000,
            origin_ms=start * 1000, wall_start_ms=first_frame_ms + at * 1000, bytes=1, sha256="a" * 64,
            timecodes=Timecodes(rate="25", marks=marks) if first else None,
        )  # fmt: skip


async def publish(api: Gateway, *parts: tuple[int, int, str | None], closed: int = 0, jitter: bool = False) -> str:
    """Publish a job of sessions: when each begins and ends, and its first label; `closed` are in closed hours."""
    job = str((await api.job())["id"])
    await api.publish(job, ago_ms=NOW * 1000)
    first_ms = await api.parts.clips._bounds.first_frame("main", job)
    assert first_ms is not None
    made = [list(segments(job, first_ms, *part, jitter=jitter)) for part in parts]
    if closed:
        async with connected("archiver", api.parts.service.settings) as archiver:
            hours = []
            for number, some in enumerate(made[:closed]):
                indexed = [IndexedSegment(log=0, number=n, segment=segment) for n, segment in enumerate(some)]
                hours.append(save_hour(api.parts.store, make_hour(job, number, number, indexed)))
            record = RecordingRecord(account="main", event=job, hours=tuple(hours), changed_ms=0)
            await Bucket(archiver.js, "recordings", RecordingRecord).create(f"main.{job}", record)
    for some in made[closed:]:
        await asyncio.gather(*(api.ingester.outbox.emit(segment) for segment in some))
    return job


async def ask(api: Gateway, job: str, *outputs: dict[str, Any]) -> httpx.Response:
    return await api.http.post("/v1/vods", json={"live_job_id": job, "outputs": list(outputs)})


async def command(api: Gateway, job: str, **output: Any) -> ClipCreate:
    answer = await ask(api, job, output)
    assert answer.status_code == 201, answer.text
    return await api.command(answer.json()["vod_jobs"][0]["jvod_id"])


def timecodes(start: str | None, end: str | None = None, **more: Any) -> dict[str, Any]:
    names = {"stream_start_timecode": start, "stream_end_timecode": end}
    return {name: text for name, text in names.items() if text} | more


PLAIN = ((0, NOW, "10:00:00:00"),)
TWICE = ((0, 200, "00:00:00:00"), (300, NOW, "00:00:00:00"))
# Sessions, how many are in closed hours, the output; start and end in stream time, asked seconds, whether it waits.
TAKEN = [
    (PLAIN, 0, timecodes("10:00:18:15", "10:01:08:15"), Fraction(93, 5), Fraction(343, 5), 50, False),
    (PLAIN, 1, timecodes("10:00:18:15", "10:01:08:15"), Fraction(93, 5), Fraction(343, 5), 50, False),
    (PLAIN, 0, timecodes("10:00:10;00", duration=7.5), 10, Fraction(35, 2), 7.5, False),
    (PLAIN, 0, timecodes(None, "10:01:00.00", duration=10), 50, 60, 10, False),
    (PLAIN, 0, timecodes("10:00:00:00", duration=1), None, 1, 1, False),
    (PLAIN, 0, timecodes("10:09:00:00", "10:30:00:00", wait=True), 540, 1800, 1260, True),
    (PLAIN, 0, timecodes("10:09:00:00", "10:30:00:00"), 540, 1800, 1260, False),
    (PLAIN, 0, timecodes("10:29:00:00", "10:30:00:00", wait=True), 1740, 1800, 60, True),
    (((0, NOW, "23:58:20:00"),), 0, timecodes("23:59:50:00", "00:00:10:00"), 90, 110, 20, False),
    (TWICE, 0, timecodes("00:01:00:00", "00:01:10:00"), 360, 370, 10, False),
    (TWICE, 1, timecodes("00:01:00:00", "00:01:10:00"), 360, 370, 10, False),
    (((0, 400, "08:00:00:00"), (400, NOW, "12:00:00:00")), 1, timecodes("08:01:00:00", duration=5), 60, 65, 5, False),
    (((0, 200, "10:00:00:00"), (300, NOW, "10:05:00:03")), 1, timecodes("10:03:10:00", "10:05:10:03"), 190, 310, 120.12,
     False),
    (((0, 100, None), (100, NOW, "10:00:00:00")), 1, timecodes("10:00:10:00", duration=5), 110, 115, 5, False),
]  # fmt: skip


async def test_timecodes_are_resolved_when_they_are_asked_for(api: Gateway) -> None:
    for sessions, closed, output, start, end, seconds, wait in TAKEN:
        job = await publish(api, *sessions, closed=closed)
        made = await command(api, job, **output)
        selection = made.selection
        first = 0 if start is None else start - EARLY
        assert (selection.clock, selection.start) == ("stream", first), output
        assert abs(selection.end - end) <= EARLY, output
        assert abs(made.asked_duration - Fraction(seconds).limit_denominator(1000)) <= Fraction(1, 5), output
        assert made.wait == wait, output


REFUSED = [
    (((0, NOW, None),), 0, timecodes("10:00:10:00", duration=5), "stream_start_timecode", "NO_TIMECODES"),
    (((0, 300, None), (300, NOW, None)), 1, timecodes(None, "10:00:10:00", duration=5), "stream_end_timecode",
     "NO_TIMECODES"),
    (PLAIN, 0, timecodes("09:00:10:00", duration=5), "stream_start_timecode", "NO_SUCH_TIMECODE"),
    (PLAIN, 1, timecodes("10:00:10:00", "10:00:05:00"), "stream_end_timecode", "NO_SUCH_TIMECODE"),
    (PLAIN, 0, timecodes("10:00:10:25", "10:00:15:00"), "stream_start_timecode", "NO_SUCH_TIMECODE"),
    (TWICE, 0, timecodes("00:04:55:00", "00:00:10:00"), "stream_end_timecode", "NO_SUCH_TIMECODE"),
    (PLAIN, 0, timecodes("10:30:00:00", duration=5), "stream_start_timecode", "BAD_REQUEST"),
    (PLAIN, 0, timecodes("10:00:10:00"), "stream_end_timecode", "BAD_REQUEST"),
    (PLAIN, 0, timecodes("10:00:10:00", "10:00:15:00", duration=5), "duration", "BAD_REQUEST"),
    (PLAIN, 0, timecodes("00:01:00;00", duration=5), "stream_start_timecode", "BAD_REQUEST"),
    (PLAIN, 0, timecodes("10:00:10:00", duration=5, start_time=1_700_000_000), "stream_start_timecode", "BAD_REQUEST"),
]  # fmt: skip


async def test_what_no_picture_has_is_a_400_that_says_so(api: Gateway) -> None:
    for sessions, closed, output, field, code in REFUSED:
        job = await publish(api, *sessions, closed=closed)
        answer = await ask(api, job, output)
        said = answer.json()
        assert (answer.status_code, said["error_code"]) == (400, code), (output, said)
        assert said["errors"][0]["field"] == f"outputs[0].{field}", said
    both = await ask(api, job, timecodes("09:00:00:00", duration=5), {"stream_start_time": 5}, {"duration": 5})
    assert [error["field"] for error in both.json()["errors"]] == [
        "outputs[0].stream_start_timecode", "outputs[1].stream_end_time",
    ]  # fmt: skip


async def test_an_hour_that_cannot_be_read_is_asked_for_again(api: Gateway) -> None:
    job = await publish(api, (0, 300, "08:00:00:00"), (300, NOW, "12:00:00:00"), closed=1)
    stored = await Bucket(api.ingester.js, "recordings", RecordingRecord).get(f"main.{job}")
    assert stored is not None
    body = api.parts.store.get(stored.value.hours[0].key)
    api.parts.store.delete(stored.value.hours[0].key)
    assert (await ask(api, job, timecodes("12:00:10:00", duration=5))).status_code == 201
    assert (await ask(api, job, timecodes("08:00:10:00", duration=5))).status_code == 503
    api.parts.store.put(stored.value.hours[0].key, body)
    assert (await ask(api, job, timecodes("08:00:10:00", duration=5))).status_code == 201


async def test_labels_that_jump_at_each_picture_are_looked_for_among_the_newest(api: Gateway) -> None:
    for closed in (0, 1):
        job = await publish(api, *PLAIN, closed=closed, jitter=True)
        made = await command(api, job, **timecodes("10:09:20:02", duration=5))
        assert made.selection.start == 560 + Fraction(1, 25) - EARLY
        answer = await ask(api, job, timecodes("10:00:10:00", duration=5))
        assert (answer.status_code, answer.json()["error_code"]) == (400, "NO_SUCH_TIMECODE")


async def test_a_look_up_is_not_done_in_the_event_loop(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await publish(api, *PLAIN)
    seen: set[int] = set()

    def watched(*given: Any, wait: bool) -> Found:
        seen.add(threading.get_ident())
        return find(*given, wait=wait)

    monkeypatch.setattr(timecode_search, "find", watched)
    await command(api, job, **timecodes("10:00:10:00", duration=5))
    assert seen
    assert threading.get_ident() not in seen


async def test_the_clips_answer_names_its_timecodes(api: Gateway) -> None:
    job = await publish(api, *PLAIN)
    made = await command(api, job, **timecodes("10:00:10:00", duration=5))
    file = api.put_file(made, b"exact", "frame", in_timecode="10:00:10:00", out_timecode="10:00:15:00")
    await api.write_clip(made, file=file)
    shown = (await api.http.get(f"/v1/vods/{made.clip}")).json()["made"]
    assert (shown["in_timecode"], shown["out_timecode"]) == ("10:00:10:00", "10:00:15:00")
