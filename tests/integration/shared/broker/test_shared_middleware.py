"""What stands round every handler: redelivery, waits, dead letters, heartbeats, deaths of handler and broker."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from pathlib import Path

import pytest
import structlog

from shared.broker import middleware, streams
from shared.broker.middleware import backoff
from shared.broker.provision import provision
from shared.errors import NotYet, Permanent, Unavailable
from shared.messages.clips import ClipRefine
from shared.runtime.service import Service, make_service, readiness
from tests.support.nats import NatsServer, nats_server
from tests.support.recordings import connected, until
from tests.support.shared_bus import apply, child, hasten, idle, letter, refine, running, settings_for, turn_info
from tests.support.shared_child import ACK_WAIT

LANE = "clipper-refine"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let redelivery come after some ms; gives the tries for which a pause was asked."""
    asked: list[int] = []

    def short(tries: int) -> timedelta:
        asked.append(tries)
        return timedelta(milliseconds=10)

    monkeypatch.setattr(streams, "CONSUMERS", streams.CONSUMERS)
    monkeypatch.setattr(middleware, "backoff", short)
    return asked


class Lane:
    """A handler that does what it is told for each try."""

    def __init__(self, nats: NatsServer, folder: Path) -> None:
        self.service: Service = make_service("clipper", settings_for(nats, folder))
        self.service.handle(LANE, self.handle, self.mourn)
        self.seen: list[str] = []
        self.mourned: list[tuple[bytes, str]] = []
        self.faults: list[Exception] = []
        self.mourner_faults: list[Exception] = []

    async def handle(self, message: ClipRefine) -> None:
        self.seen.append(message.clip)
        if self.faults:
            raise self.faults.pop(0)

    async def mourn(self, body: bytes, reason: str) -> None:
        self.mourned.append((body, reason))
        if self.mourner_faults:
            raise self.mourner_faults.pop(0)


def test_pauses_double_from_a_second_to_five_minutes() -> None:
    pauses = [backoff(tries).total_seconds() for tries in range(1, 40)]
    for tries, pause in enumerate(pauses):
        assert min(2**tries, 300) <= pause <= min(2**tries, 300) * 1.1


async def test_a_failure_comes_again_with_growing_pauses_until_it_succeeds(
    nats: NatsServer, tmp_path: Path, quick: list[int]
) -> None:
    lane = Lane(nats, tmp_path)
    lane.faults = [Unavailable("a"), ValueError("b"), RuntimeError("c")]
    async with running(lane.service), connected(nats.url) as js:
        clip, sequence = await refine(js)
        await until(lambda: idle(js, LANE, sequence))
        assert lane.seen == [clip] * 4
        assert quick == [1, 2, 3]
        assert await letter(js, LANE, sequence) is None


PAUSE = timedelta(seconds=1.5)


@pytest.mark.parametrize("fault", [Unavailable("a"), ValueError("b"), NotYet("later", PAUSE)], ids=repr)
async def test_a_message_comes_again_after_the_pause_and_not_before(
    nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    monkeypatch.setattr(middleware, "backoff", lambda _tries: PAUSE)
    lane, times = Lane(nats, tmp_path), list[float]()

    async def handle(message: ClipRefine) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            raise fault

    lane.service = make_service("clipper", settings_for(nats, tmp_path))
    lane.service.handle(LANE, handle)
    async with running(lane.service), connected(nats.url) as js:
        _, sequence = await refine(js)
        await until(lambda: idle(js, LANE, sequence))
    assert len(times) == 2
    assert times[1] - times[0] >= 0.9 * PAUSE.total_seconds()


async def test_a_fault_that_was_foreseen_is_one_line_and_another_has_its_trace(
    nats: NatsServer, tmp_path: Path
) -> None:
    lane = Lane(nats, tmp_path)
    lane.faults = [NotYet("later", timedelta(milliseconds=5)), Unavailable("a"), ValueError("b")]
    with structlog.testing.capture_logs() as logged:
        async with running(lane.service), connected(nats.url) as js:
            _, sequence = await refine(js)
            await until(lambda: idle(js, LANE, sequence))
    lines = {line.get("reason") or line.get("error"): line for line in logged if line["event"].startswith("message.")}
    assert lines["later"]["log_level"] == "debug"
    assert lines["Unavailable: a"]["exc_info"] is None
    assert isinstance(lines["ValueError: b"]["exc_info"], ValueError)


async def test_waiting_is_no_failure_however_often(nats: NatsServer, tmp_path: Path) -> None:
    """More waits than there are tries, then a failure, then success."""
    lane = Lane(nats, tmp_path)
    lane.faults = [*(NotYet("later", timedelta(milliseconds=5)) for _ in range(8)), Unavailable("once")]
    async with running(lane.service), connected(nats.url) as js:
        clip, sequence = await refine(js)
        await until(lambda: idle(js, LANE, sequence))
        assert lane.seen == [clip] * 10
        assert await letter(js, LANE, sequence) is None
        assert not lane.mourned


async def test_the_last_try_goes_to_the_dead_letters_with_its_history(nats: NatsServer, tmp_path: Path) -> None:
    lane = Lane(nats, tmp_path)
    lane.faults = [
        Unavailable("first"), NotYet("wait", timedelta(milliseconds=5)), Unavailable("second"), KeyError("third"),
        Unavailable("fourth"), ValueError("fifth"),
    ]  # fmt: skip
    async with running(lane.service), connected(nats.url) as js:
        clip, sequence = await refine(js)
        await until(lambda: idle(js, LANE, sequence))
        found = await letter(js, LANE, sequence)
    assert found is not None
    assert found["error"] == "ValueError: fifth"
    assert [a["error"] for a in found["history"]] == [
        "Unavailable: first", "Unavailable: second", "KeyError: 'third'", "Unavailable: fourth", "ValueError: fifth",
    ]  # fmt: skip
    assert [a["delivery"] for a in found["history"]] == [1, 3, 4, 5, 6]
    assert json.loads(found["body"]) == {"account": "main", "clip": clip}
    assert (found["subject"], found["stream"]) == (f"clips.refine.main.{clip}", streams.consumer(LANE).stream)
    assert (found["sequence"], found["consumer"], found["headers"]["ce-type"]) == (sequence, LANE, "clips.refine")
    assert lane.mourned == [(found["body"], "ValueError: fifth")]


async def test_the_history_spans_instances(nats: NatsServer, tmp_path: Path) -> None:
    one, two = Lane(nats, tmp_path / "1"), Lane(nats, tmp_path / "2")
    turn = NotYet("the other one's turn", timedelta(milliseconds=10))
    one.faults = [Unavailable("in the first"), *[turn] * 1000]
    two.faults = [Unavailable("in the second"), Permanent("enough")]
    async with connected(nats.url) as js:
        async with running(one.service):
            clip, sequence = await refine(js)
            await until(lambda: asyncio.sleep(0, one.seen))
        async with running(two.service):
            await until(lambda: idle(js, LANE, sequence))
        found = await letter(js, LANE, sequence)
    assert found is not None
    assert [a["error"] for a in found["history"]] == [
        "Unavailable: in the first", "Unavailable: in the second", "Permanent: enough",
    ]  # fmt: skip
    assert [body for body, _ in two.mourned] == [found["body"]]
    assert set(one.seen) == set(two.seen) == {clip}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"\xff\xfe\x00garbage", "invalid body"),
        (b"{", "invalid body"),
        (b"", "invalid body"),
        (b"[1, 2]", "invalid body"),
        (b'{"account": "main", "clip": "../../etc"}', "clip: String should match pattern"),
        (b'{"clip": NaN}', "account: Field required"),
        (b"x" * 900_000, "invalid body"),
    ],
)
async def test_an_unreadable_body_is_buried_at_once(nats: NatsServer, tmp_path: Path, body: bytes, error: str) -> None:
    lane = Lane(nats, tmp_path)
    async with running(lane.service), connected(nats.url) as js:
        _, sequence = await refine(js, body)
        _, last = await refine(js)
        await until(lambda: idle(js, LANE, last))
        found = await letter(js, LANE, sequence)
    assert found is not None
    assert error in found["error"] or "JSONDecodeError" in found["error"] or "UnicodeDecodeError" in found["error"]
    assert found["bytes"] == len(body)
    assert body.startswith(found["body"])
    assert len(found["history"]) == 1
    assert len(lane.seen) == 1, "the message behind it is not held up"
    assert len(lane.mourned) == 1


async def test_faults_of_the_mourner(nats: NatsServer, tmp_path: Path) -> None:
    """One that may pass is tried again, so that nobody waits for ever; any other changes nothing."""
    lane = Lane(nats, tmp_path)
    lane.faults = [Permanent("no")] * 3
    lane.mourner_faults = [Unavailable("the broker"), Unavailable("again")]
    async with running(lane.service), connected(nats.url) as js:
        clip, sequence = await refine(js)
        await until(lambda: idle(js, LANE, sequence))
        assert lane.seen == [clip] * 3
        assert len(lane.mourned) == 3
        assert await letter(js, LANE, sequence) is not None
        lane.faults = [Permanent("no")]
        lane.mourner_faults = [ZeroDivisionError()]
        _, sequence = await refine(js)
        await until(lambda: idle(js, LANE, sequence))
        assert len(lane.mourned) == 4
        assert await letter(js, LANE, sequence) is not None


async def test_a_slow_handler_is_not_given_the_message_twice(nats: NatsServer, tmp_path: Path) -> None:
    hasten(LANE, ack_wait=ACK_WAIT)
    lanes = [Lane(nats, tmp_path / name) for name in ("1", "2")]
    begun: list[str] = []

    async def slow(message: ClipRefine) -> None:
        begun.append(message.clip)
        await asyncio.sleep(3 * ACK_WAIT.total_seconds())

    async with connected(nats.url) as js:
        await apply(js, LANE, ACK_WAIT)
        for lane in lanes:
            lane.handle = slow  # type: ignore[method-assign]
            lane.service = make_service("clipper", settings_for(nats, tmp_path))
            lane.service.handle(LANE, slow)
        async with running(lanes[0].service), running(lanes[1].service):
            clip, sequence = await refine(js)
            await until(lambda: idle(js, LANE, sequence))
            assert begun == [clip]  # counted here: what a handler asserts is caught by the guard round it
            info = await turn_info(js, LANE)
            assert info is not None
            assert info.num_redelivered == 0
            assert info.delivered is not None
            assert info.ack_floor is not None
            assert info.delivered.consumer_seq == info.ack_floor.consumer_seq
        await apply(js, LANE, timedelta(seconds=30))


async def test_a_handler_that_kills_its_process_every_time_is_buried_unread(nats: NatsServer, tmp_path: Path) -> None:
    settings = settings_for(nats, tmp_path)
    async with connected(nats.url) as js:
        await apply(js, LANE, ACK_WAIT)
        clip, sequence = await refine(js)
        for _ in range(3):
            with child(settings, tmp_path / "log", "tests.support.shared_child", "die", str(tmp_path)) as process:

                async def over(process: object = process) -> bool:
                    return process.poll() is not None or await letter(js, LANE, sequence) is not None  # type: ignore[attr-defined]

                await until(over)
        found = await letter(js, LANE, sequence)
        await until(lambda: idle(js, LANE, sequence))
        await apply(js, LANE, timedelta(seconds=30))
    assert found is not None
    assert found["error"] == "the handler died on every try"
    notes = (tmp_path / "notes").read_text().splitlines()
    assert notes == [f"begun {clip}", f"begun {clip}", f"mourned {clip} the handler died on every try"]


async def test_a_broker_that_is_killed_while_a_handler_runs(tmp_path: Path) -> None:
    hasten(LANE, ack_wait=ACK_WAIT)
    with nats_server(tmp_path / "nats") as server:
        lane = Lane(server, tmp_path)
        begun, go = asyncio.Event(), asyncio.Event()

        async def work(message: ClipRefine) -> None:
            lane.seen.append(message.clip)
            begun.set()
            await go.wait()

        lane.service = make_service("clipper", settings_for(server, tmp_path))
        lane.service.handle(LANE, work)
        async with running(lane.service):
            async with connected(server.url) as js:
                await apply(js, LANE, ACK_WAIT)
                clip, sequence = await refine(js)
                await asyncio.wait_for(begun.wait(), 20)
            server.kill()
            go.set()
            server.start()
            async with connected(server.url) as js:
                await until(lambda: idle(js, LANE, sequence))
                assert set(lane.seen) == {clip}, "at least once"
                other, sequence = await refine(js)
                await until(lambda: asyncio.sleep(0, other in lane.seen))
                await until(lambda: idle(js, LANE, sequence))
                assert lane.seen.count(other) == 1


async def test_a_consumer_that_was_deleted_is_taken_up_again(nats: NatsServer, tmp_path: Path) -> None:
    lane = Lane(nats, tmp_path)
    async with running(lane.service), connected(nats.url) as js:
        assert await readiness(lane.service) == {}
        await js.delete_stream(streams.consumer(LANE).stream)
        assert (await readiness(lane.service))[LANE] == "stream is missing"
        await provision(js)
        assert await readiness(lane.service) == {}
        clip, sequence = await refine(js)
        await until(lambda: idle(js, LANE, sequence))
        assert lane.seen == [clip]
